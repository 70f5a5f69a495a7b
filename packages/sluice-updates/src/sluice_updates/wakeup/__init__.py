"""Wake-ups: after a commit, they tell the hubs what was committed."""
