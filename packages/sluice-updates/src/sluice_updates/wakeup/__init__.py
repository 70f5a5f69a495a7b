"""After the commit: telling the hubs what was committed."""
