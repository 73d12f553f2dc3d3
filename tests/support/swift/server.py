"""A whole OpenStack Swift node in one process, on free ports of 127.0.0.1: a real S3 server for tests.

Run by the Python of Swift's own virtual environment:  python server.py FOLDER SECRET_KEY
Once it answers, FOLDER/server.json tells its S3 endpoint, and the URL of a second door to the same objects that speaks
Swift's own protocol and asks for no credentials: the tests look behind the store's back through it.
"""

import json
import pickle
import sys
import time
from pathlib import Path

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

DEVICE = "disk"
BUCKET = "blobs"
ACCOUNT = "AUTH_test"
STORAGE = ("account", "container", "object")

COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_level = WARNING
log_custom_handlers = server.log_to_stderr
"""

STORAGE_SERVICE = """\
[pipeline:main]
pipeline = {service}-server
[app:{service}-server]
use = egg:swift#{service}
"""

PROXY = """\
[pipeline:main]
pipeline = {pipeline}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
paste.filter_factory = server:process_cache
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
error_suppression_limit = 1000000
"""
S3_PIPELINE = "catch_errors cache listing_formats s3api tempauth bulk slo dlo proxy-server"
RAW_PIPELINE = "catch_errors cache listing_formats bulk slo dlo proxy-server"


class ProcessCache:
    """What Swift asks of memcached, in a dictionary: there is one process only."""

    def __init__(self):
        self.values = {}

    def get(self, key, raise_on_error=False):
        value, end = self.values.get(key, (None, 0))
        return pickle.loads(value) if value and (not end or end > time.time()) else None  # noqa: S301

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.values[key] = (pickle.dumps(value), now() + time if time else 0)

    def delete(self, key, server_key=None):
        self.values.pop(key, None)


CACHE = ProcessCache()
now = time.time


def process_cache(global_conf, **local_conf):
    def wrap(app):
        def handle(environ, start_response):
            environ["swift.cache"] = CACHE
            return app(environ, start_response)

        return handle

    return wrap


def log_to_stderr(conf, name, log_to_console, log_route, fmt, logger, adapted_logger):
    """Swift logs to syslog unless told otherwise."""
    import logging

    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.StreamHandler(sys.__stderr__))


def listen():
    return eventlet.listen(("127.0.0.1", 0), backlog=1024)


def port_of(socket):
    return socket.getsockname()[1]


def write_settings(folder, ports, secret):
    (folder / "devices" / DEVICE).mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = single\ndefault = yes\n"
    )
    for service in STORAGE:
        builder = RingBuilder(4, 1, 0)
        device = {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "device": DEVICE}
        builder.add_dev({**device, "port": ports[service]})
        builder.rebalance(seed=1)
        builder.get_ring().save(str(folder / f"{service}.ring.gz"))
        common = COMMON.format(port=ports[service], folder=folder)
        (folder / f"{service}.conf").write_text(common + STORAGE_SERVICE.format(service=service))
    for door, pipeline in (("s3", S3_PIPELINE), ("raw", RAW_PIPELINE)):
        common = COMMON.format(port=ports[door], folder=folder)
        (folder / f"{door}.conf").write_text(common + PROXY.format(pipeline=pipeline, secret=secret))


def serve(socket, app):
    wsgi.server(
        socket,
        app,
        utils.NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,  # S3 clients look for ETag, not Etag
        keepalive=60,
    )


def create_bucket(port):
    """The first answer proves that all parts work together."""
    from eventlet.green.urllib import request

    for path in (f"/v1/{ACCOUNT}", f"/v1/{ACCOUNT}/{BUCKET}"):
        call = request.Request(f"http://127.0.0.1:{port}{path}", method="PUT", data=b"")
        with request.urlopen(call, timeout=30) as answer:
            answer.read()


def main(folder, secret):
    folder = Path(folder).resolve()
    sockets = {name: listen() for name in (*STORAGE, "s3", "raw")}
    ports = {name: port_of(socket) for name, socket in sockets.items()}
    write_settings(folder, ports, secret)
    utils.set_swift_dir(str(folder))
    reload_storage_policies()
    for name, socket in sockets.items():
        eventlet.spawn(serve, socket, loadapp(str(folder / f"{name}.conf"), allow_modify_pipeline=False))
    create_bucket(ports["raw"])
    draft = folder / "server.json.new"
    description = {
        "endpoint": f"http://127.0.0.1:{ports['s3']}",
        "raw_url": f"http://127.0.0.1:{ports['raw']}/v1/{ACCOUNT}",
        "access_key_id": "test:tester",
        "secret_access_key": secret,
        "bucket": BUCKET,
    }
    draft.write_text(json.dumps(description))
    draft.rename(folder / "server.json")
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    sys.modules["server"] = sys.modules["__main__"]  # the settings above name this file as a module
    main(*sys.argv[1:])
