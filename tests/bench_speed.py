"""Prints what a row costs when nothing holds it back: python tests/bench_speed.py [ROWS] [IN_FLIGHT].

Whole runs (check, sign, send, store with fsync, results), caps out of the way, against nginx, which echoes the serial
at once; `apt-get install nginx` brings it.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_rate import KEYS

PORT = 18098
ANSWER = '{"RequestId":"020F6A43-19E6-4B6E-B846-44EB31DF0000","DeviceSn":"$arg_DeviceSn"}'
NGINX = f"""
pid @/pid; error_log @/error; worker_processes 1; events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path @/b; proxy_temp_path @/p; fastcgi_temp_path @/f; uwsgi_temp_path @/u; scgi_temp_path @/s;
  server {{ listen 127.0.0.1:{PORT}; location / {{ default_type application/json; return 200 '{ANSWER}'; }} }}
}}
"""


def run_once(directory: Path, rows: int, in_flight: int) -> None:
    """Does one whole run in a process of its own, and prints its figures."""
    command = [sys.executable, "-m", "bulkcert", "run", "inactivate-device", str(directory / "devices.csv"), "--yes"]
    command += ["--instance=post-cn-bench", f"--endpoint=http://127.0.0.1:{PORT}", "--overwrite", "--quiet"]
    command += [
        "--rate=100000",
        "--per-address-rate=100000",
        "--limits-raised",
        f"--max-in-flight={in_flight}",
        "--preflight=never",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    status = subprocess.run(command, env=os.environ | KEYS, stdout=subprocess.DEVNULL, check=False).returncode
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{rows} rows: {rows / seconds:.0f} rows/s, {cpu / rows * 1e6:.0f} us of CPU a row, exit {status}", flush=True
    )


def main() -> None:
    """Measures three runs in a row."""
    rows, in_flight = (*map(int, sys.argv[1:]), *(10_000, 64)[len(sys.argv) - 1 :])
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        sys.exit("nginx is not installed: apt-get install nginx")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        lines = [f"{number:018d},007269004887000001\n" for number in range(rows)]
        (directory / "devices.csv").write_text("DeviceSn,CaSn\n" + "".join(lines))
        (directory / "conf").write_text(NGINX.replace("@", name))
        server = subprocess.Popen([nginx, "-c", str(directory / "conf"), "-g", "daemon off;"])
        try:
            time.sleep(0.5)
            for _ in range(3):
                run_once(directory, rows, in_flight)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
