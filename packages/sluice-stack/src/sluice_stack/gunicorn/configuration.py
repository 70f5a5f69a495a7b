"""Gunicorn's settings. https://gunicorn.org/reference/settings/

What an operator may choose comes from the environment; see docs/reference/environment.md.
"""

import os

from sluice_stack import environment
from sluice_stack.gunicorn import metrics, worker
from sluice_stack.settings.monitoring import metrics_bind
from sluice_updates.server.listening import inherited

try:
    _env = environment.load()
except environment.Malformed as error:
    environment.refuse(error.problems, "wsgi")
    raise
environment.refuse(environment.missing(_env), "wsgi")

# On a host supervisor or systemd hands over the socket, so that a restart of one process closes nothing.
_socket = inherited()
bind = (
    f"fd://{_socket}"
    if _socket is not None
    else _env.wsgi_bind or ("0.0.0.0:8000" if _env.sluice_service else "127.0.0.1:8000")
)
# After a restart of nginx everyone comes at once.
backlog = 2048

# Bytes of a request's first line, of which 8190 is the most. A URL may have 7168: what a client of 64 streams
# asks with, polling; nginx refuses more. Default: 4094.
limit_request_line = 8190

# gthread's, which on a stop lets nobody down who was in the queue.
worker_class = "sluice_stack.gunicorn.worker.Worker"
when_ready = worker.when_ready
post_worker_init = worker.post_worker_init
workers = _env.wsgi_workers
threads = _env.wsgi_threads
# Imported once, before the fork: half the memory, and a mistake ends the master at once, with its words.
preload_app = True

# A request takes less than the first; on SIGTERM those in hand get the second. supervisor waits 35 s.
timeout = 30
graceful_timeout = 30
# Longer than a proxy in front keeps an idle connection (nginx: 60 s): the side that sends must be the one
# that closes, or a request meets a closed door and becomes a 502. Our own nginx keeps none.
keepalive = 75
# A worker now and then begins anew, at a moment of its own.
max_requests = 20_000
max_requests_jitter = 2_000

# The workers' sign of life is written all the time: never to a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
control_socket_disable = True

# nginx has logged the request already.
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
        worker.post_worker_init(started)
        _metrics.post_worker_init(started)
