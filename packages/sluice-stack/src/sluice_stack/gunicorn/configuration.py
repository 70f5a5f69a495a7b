"""Gunicorn's settings. https://gunicorn.org/reference/settings/

The operator's settings come from the environment: docs/reference/environment.md.
"""

import os

from sluice_stack import environment, housekeeping
from sluice_stack.gunicorn import metrics, worker
from sluice_stack.settings.monitoring import metrics_bind
from sluice_updates.server.listening import inherited

try:
    _env = environment.load()
except environment.Malformed as error:
    environment.refuse(error.problems, "wsgi")
    raise
environment.refuse(environment.missing(_env), "wsgi")

# Unless the command line names another one.
wsgi_app = "sluice_stack.wsgi:application"

# On a host, supervisor or systemd passes the listening socket. It stays open while one process restarts.
_socket = inherited()
bind = (
    f"fd://{_socket}"
    if _socket is not None
    else _env.wsgi_bind or ("0.0.0.0:8000" if _env.sluice_service else "127.0.0.1:8000")
)
# After a restart of nginx all clients connect at once.
backlog = 2048

# Bytes of a request line; 8190 is Gunicorn's maximum. nginx accepts URLs of up to 7168 bytes, which a client
# that polls 64 streams needs. Default: 4094.
limit_request_line = 8190

# A gthread worker that also serves the connections in the backlog before it stops.
worker_class = "sluice_stack.gunicorn.worker.Worker"
when_ready = worker.when_ready
post_worker_init = worker.post_worker_init
if not _env.beat_containers:

    def post_worker_init(started):  # type: ignore[no-untyped-def]
        worker.post_worker_init(started)
        housekeeping.start()


_worker_started = post_worker_init
workers = _env.wsgi_workers
threads = _env.wsgi_threads
# The application is imported before the fork. That halves the memory, and an error at import ends the master
# with its message.
preload_app = True

# Seconds. A worker that is silent for `timeout` is killed. After SIGTERM, current requests have
# `graceful_timeout`; supervisor waits 35 s.
timeout = 30
graceful_timeout = 30
# Longer than a proxy keeps an idle connection (nginx: 60 s), so that the proxy closes it. If Gunicorn closed
# it while the proxy sends a request, the result would be a 502. Our own nginx keeps no connections.
keepalive = 75
# Each worker is replaced after so many requests, with a random part, so that not all are replaced at once.
max_requests = 20_000
max_requests_jitter = 2_000

# Workers touch their heartbeat files all the time, so these must not be on a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
control_socket_disable = True

# nginx writes the access log.
accesslog = None
errorlog = "-"
loglevel = _env.log_level
proc_name = "sluice-wsgi"

if metrics.wanted(metrics_bind(_env)):
    _metrics = metrics.Metrics(metrics_bind(_env), workers)
    pre_fork = _metrics.pre_fork
    child_exit = _metrics.child_exit
    worker_exit = _metrics.worker_exit
    pre_request = _metrics.pre_request
    post_request = _metrics.post_request

    def when_ready(arbiter):  # type: ignore[no-untyped-def]
        worker.when_ready(arbiter)
        _metrics.when_ready(arbiter)

    def post_worker_init(started):  # type: ignore[no-untyped-def]
        _worker_started(started)
        _metrics.post_worker_init(started)
