"""A server on the loopback that can stall, break off, know no ranges or answer with something else."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def serving(content, name):
    """A running `Server`, which ends with the block."""
    with Server(content, name) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under every path; attributes make it misbehave, and `asked` holds (path, Range header)
    of each request."""

    daemon_threads = True
    ranges = True
    kind = 'application/zip'
    status = None
    bytes_per_answer = None
    stalls = False

    def __init__(self, content, name):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content = content
        self.asked, self.released = [], threading.Event()
        self.url = f'http://127.0.0.1:{self.server_address[1]}/{name}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get('Range')
        server.asked.append((self.path, wanted))
        start = int(wanted.removeprefix('bytes=').removesuffix('-')) if wanted and server.ranges else 0
        self.send_response(server.status or (206 if start else 200))
        self.send_header('Content-Type', server.kind)
        self.send_header('Content-Length', str(len(server.content) - start))
        self.end_headers()
        end = len(server.content) if server.bytes_per_answer is None else start + server.bytes_per_answer
        self.wfile.write(server.content[start:end])
        if server.stalls and end < len(server.content):
            server.released.wait(20)

    def log_message(self, *args):
        pass
