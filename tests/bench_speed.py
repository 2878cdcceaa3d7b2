"""Prints what a row costs when nothing holds it back: python tests/bench_speed.py [ROWS] [IN_FLIGHT ...].

Whole runs (check, sign, send, store with fsync, results), caps out of the way, against nginx, which echoes the serial
at once; `apt-get install nginx` brings it. For each number of calls in flight three runs, with and without TLS in turn.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import at, measured, write_long
from own_tls import server_context
from program import UNHURRIED

PORT = 18098
ANSWER = '{"RequestId":"020F6A43-19E6-4B6E-B846-44EB31DF0000","DeviceSn":"$arg_DeviceSn"}'
NGINX = f"""
pid @/pid; error_log @/error; worker_processes 1; events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path @/b; proxy_temp_path @/p; fastcgi_temp_path @/f; uwsgi_temp_path @/u; scgi_temp_path @/s;
  ssl_certificate @/own.pem; ssl_certificate_key @/own.pem; ssl_session_cache shared:S:1m;
  server {{
    listen 127.0.0.1:{PORT}; listen 127.0.0.1:{PORT + 1} ssl;
    location / {{ default_type application/json; return 200 '{ANSWER}'; }}
  }}
}}
"""


def run_once(directory, rows, in_flight, endpoint):
    """Does one whole run in a process of its own, and prints its figures."""
    results = directory / f"{time.monotonic_ns()}.csv"  # a run of its own, which drops none
    more = ("-o", results, *UNHURRIED, "--max-in-flight", in_flight)
    env = {"SSL_CERT_FILE": str(directory / "own.pem")}
    ended = measured("run", "inactivate-device", directory / "devices.csv", *at(endpoint), *more, env=env)
    print(
        f"{rows} rows, {in_flight} in flight, {endpoint.partition(':')[0]:5}: {rows / ended.wall_s:.0f} rows/s, "
        f"{ended.cpu_s / rows * 1e6:.0f} us of CPU a row, exit {ended.status}",
        flush=True,
    )


def main():
    rows, *in_flight = (*map(int, sys.argv[1:]), *(10_000, 64)[len(sys.argv) - 1 :])
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        sys.exit("nginx is not installed: apt-get install nginx")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        server_context(directory / "own.pem")
        write_long(directory / "devices.csv", rows)
        (directory / "conf").write_text(NGINX.replace("@", name))
        server = subprocess.Popen([nginx, "-c", str(directory / "conf"), "-g", "daemon off;"])
        try:
            time.sleep(0.5)
            for _ in range(3):
                for each in in_flight:
                    run_once(directory, rows, each, f"http://127.0.0.1:{PORT}")
                    run_once(directory, rows, each, f"https://127.0.0.1:{PORT + 1}")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
