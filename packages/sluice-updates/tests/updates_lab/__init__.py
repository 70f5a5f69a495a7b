"""Helpers: `site`, a Django site with its servers and clients; `support`, the rest."""
