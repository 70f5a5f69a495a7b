"""What the apps of this site share: pages, the JSON API, lists."""
