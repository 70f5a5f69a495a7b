"""Messages to people: from each other, and from the site. To send one: inbox.sending.send()."""
