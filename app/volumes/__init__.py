"""Image volumes, and crops that are cut out of them."""
