"""An HTTP server on loopback for get.sh: get_server.py FOLDER PORT_FILE LOG.

/MODE/PATH is FOLDER/PATH, given in the way of MODE: well, or as Handler has it. Each request is a line of LOG: method,
path, range. It ends when FOLDER is gone.
"""

import hashlib
import http.server
import pathlib
import sys
import threading
import time

folder, port_file, log = map(pathlib.Path, sys.argv[1:])
asked = {}  # how often each method and path
# As Hugging Face: the facts here, the content elsewhere, which refuses to be asked; or else it is other content.
ELSEWHERE = {"linked": "content", "forged": "wrong"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        mode, path = self.path.lstrip("/").split("/", 1)
        asked_before = asked.get((self.command, self.path), 0)
        asked[self.command, self.path] = asked_before + 1
        with log.open("a") as f:
            f.write(f"{self.command} {self.path} {self.headers.get('Range', '-')}\n")
        self.close_connection = True
        file = folder / path
        head = self.command == "HEAD"
        if mode.isdigit():
            return self.refuse(int(mode))
        if mode == "busy" and asked_before == 0:
            return self.refuse(503)
        if mode == "nohead" and head:
            return self.refuse(405)
        if not file.is_file():
            return self.refuse(404)
        content = file.read_bytes()
        if mode in ELSEWHERE:
            self.send_response(302)
            self.send_header("Location", f"/{ELSEWHERE[mode]}/{path}")
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
            # As a busy host: it hangs up without a word, just as the next request comes on the same connection.
            return time.sleep(0 if head else 0.2)
        if mode == "content" and head:
            return self.refuse(403)
        if mode == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        length = len(content) + {"long": 1000, "short": -1000}.get(mode, 0)
        begin = 0
        asked_range = self.headers.get("Range", "")
        if asked_range.startswith("bytes=") and mode != "noranges":
            begin = int(asked_range[6:].split("-")[0])
            if begin >= length:
                return self.refuse(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{length - 1}/{length}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(length - begin))
        self.end_headers()
        if head:
            return
        content = content[begin:]
        if mode == "drops" or (mode == "noranges" and asked_before == 0):
            content = content[: (len(content) + 1) // 2]
        if mode == "dies":
            content = content[: len(content) // 2 if begin == 0 else 0]
        if mode == "slow":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            time.sleep(60)
        else:
            self.wfile.write(content)

    def refuse(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
port_file.with_suffix(".new").write_text(str(server.server_port))
port_file.with_suffix(".new").rename(port_file)
threading.Thread(target=server.serve_forever, daemon=True).start()
while folder.exists():
    time.sleep(0.5)
