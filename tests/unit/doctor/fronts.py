"""nginx in front of the host, with changes to the shipped configuration."""

from __future__ import annotations

from collections.abc import Callable

from unit.doctor.house import House

from config.nginx_lab import Nginx

# As in many projects' documentation.
BARE = """
    listen 127.0.0.1:$port default_server;
    proxy_set_header Host $http_host;
    location /channels/ {
        proxy_pass http://DAPHNE;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }
    location / { proxy_pass http://GUNICORN; }
"""


def server(house: House, text: str) -> Callable[[Nginx], None]:
    """Another site's server block instead of ours."""
    for name in ("gunicorn", "daphne"):
        text = text.replace(name.upper(), f"127.0.0.1:{house.ports[name]}")
    return lambda nginx: nginx.as_existing_site(text)


def snippet(name: str, old: str, new: str) -> Callable[[House], Callable[[Nginx], None]]:
    """Replace a line in one of our snippets, or in conf.d/…."""

    def change(nginx: Nginx) -> None:
        path = nginx.folder / "etc" / (name if "/" in name else f"snippets/sluice/{name}")
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return lambda house: change


def bare(old: str = "", new: str = "") -> Callable[[House], Callable[[Nginx], None]]:
    assert old in BARE
    return lambda house: server(house, BARE.replace(old, new) if old else BARE)


def own(text: str) -> Callable[[House], Callable[[Nginx], None]]:
    return lambda house: server(house, "listen 127.0.0.1:$port default_server;" + text)
