"""`video2mp3 broker ingress` and `video2mp3 broker dispatcher`: the broker without Kubernetes, on RabbitMQ."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from functions.common import logs
from functions.common.amqp import AmqpPublisher
from functions.common.config import load
from functions.common.errors import SettingError
from local.cli.stopping import stop_signals
from local.delivery.amqp import AmqpDispatcher, AmqpSource
from local.delivery.clock import Clock
from local.delivery.topology import Topology
from local.delivery.triggers import Destination, load_broker, load_ping, load_source, load_trigger, load_triggers
from local.server.ingress import Ingress
from local.server.listener import Listener

EVENTING: Final = Path(__file__).parents[2] / "eventing"
_STOP_SECONDS: Final = 2.0
_log = logging.getLogger("broker")


def serve_ingress(*, host: str, port: int, env: Mapping[str, str] = os.environ) -> None:
    """Take events by HTTP until SIGINT or SIGTERM.

    Raises:
        SettingError: BROKER_URL is not RabbitMQ's, or the port is taken.
    """
    stop = stop_signals()
    publisher = AmqpPublisher(_url(env), exchange=Topology(load_broker(EVENTING / "broker.yaml"), ()).exchange)
    try:
        listener = Listener(host, port)
    except OSError as error:
        raise SettingError(f"{host}:{port} cannot be used: {error.strerror}") from error
    listener.app = Ingress(publisher)
    threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
    _log.info("events are taken at http://%s:%d", host, listener.port)
    os.read(stop, 1)
    listener.shutdown()
    publisher.close()
    _end()


def serve_dispatcher(
    *, services: Sequence[str], parallelism: Sequence[str], env: Mapping[str, str] = os.environ
) -> None:
    """Deliver events until SIGINT or SIGTERM.

    Args:
        services: addresses of functions, each `NAME=http://host:port`; one that is not named is `http://NAME:8080`.
        parallelism: caps, each `NAME=NUMBER`.
        env: settings.

    Raises:
        SettingError: BROKER_URL is not RabbitMQ's, an argument is wrong, or RabbitMQ holds something else by our names.
    """
    stop = stop_signals()
    addresses = _pairs("--service", services)
    caps = {name: _number(text) for name, text in _pairs("--parallelism", parallelism).items()}

    def address(destination: Destination) -> str:
        base = addresses.get(destination.service, f"http://{destination.service}:8080")
        return base.rstrip("/") + destination.path

    url = _url(env)
    older = env.get("BRIDGE_AMQP_URL", "")
    triggers = load_triggers(EVENTING / "triggers")
    if older:
        triggers += (load_trigger(EVENTING / "bridge/trigger.yaml"),)
    topology = Topology(load_broker(EVENTING / "broker.yaml"), triggers)
    dispatcher = AmqpDispatcher(url, topology, address=address, parallelism=caps, crash_at=env.get("CRASH_AT", ""))
    sources = [AmqpSource(older, load_source(EVENTING / "bridge/source.yaml"), address=address)] if older else []
    clock = Clock(ping=load_ping(EVENTING / "ping.yaml"), address=address)
    dispatcher.start()
    for source in sources:
        source.start()
    clock.start()
    _log.info("events are delivered")
    os.read(stop, 1)
    clock.stop()
    for source in sources:
        source.stop(_STOP_SECONDS)
    dispatcher.stop(_STOP_SECONDS)
    _end()


def _url(env: Mapping[str, str]) -> str:
    config = load(env)
    logs.setup(config.log_format)
    if not config.broker_url.startswith(("amqp:", "amqps:")):
        raise SettingError("BROKER_URL must be RabbitMQ's: amqp://user:password@host:5672/vhost")
    return config.broker_url


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SettingError(f"{option} must be NAME=..., not {text!r}")
        pairs[name] = value
    return pairs


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SettingError(f"--parallelism must be NAME=NUMBER from 1 on, not {text!r}")
    return int(text)


def _end() -> None:
    # A request that is still being answered must not hold up the end; its event comes again.
    logging.shutdown()
    os._exit(0)
