"""Messages to users, from other users and from the site. inbox.sending.send() sends one."""
