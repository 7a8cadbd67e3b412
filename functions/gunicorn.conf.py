"""How gunicorn serves one function, named by FUNCTION_TARGET: in the images and by `video2mp3 serve FUNCTION`."""

import os
import signal

_function = os.environ["FUNCTION_TARGET"]
# Seconds that a request may last, as the Service's timeoutSeconds; a stop waits as long for those that run.
_longest = {"auth": 30, "notify": 45, "recover": 90}.get(_function, 590)
# More than the Service's containerConcurrency, so that probes always find a thread.
_threads = {"convert": int(os.environ.get("CONVERT_SLOTS") or 1) + 3, "jobs": 36}.get(_function, 20)

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104 - a container's face
wsgi_app = "functions.common.app:from_environment()"
worker_class = "gthread"
workers = 1
threads = _threads
timeout = 0  # requests have limits of their own; a worker is never killed for a long one
graceful_timeout = _longest
keepalive = 75
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - gunicorn's heartbeat file
# Our own line per request is logged by the app, without the query string.
accesslog = None
logger_class = "gunicorn.glogging.Logger"


def post_worker_init(worker):
    """Tell the app of a stop at once, so that streams end while other requests run on."""
    backends = worker.wsgi.extensions["backends"]
    graceful, quick = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGQUIT)

    def tell(event):
        # A handler may interrupt another one inside `set`, which does not take that.
        if not event.is_set():
            event.set()

    def drain(number, frame):
        tell(backends.draining)
        graceful(number, frame)

    def halt(number, frame):
        tell(backends.draining)
        tell(backends.halting)
        quick(number, frame)

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGQUIT, halt)
    signal.signal(signal.SIGINT, halt)
