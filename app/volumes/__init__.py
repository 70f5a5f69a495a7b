"""Image volumes, and crops of them."""
