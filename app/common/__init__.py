"""Code that the apps of this site share: pages, the JSON API, paging."""
