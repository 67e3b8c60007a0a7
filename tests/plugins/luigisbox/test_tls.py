"""TLS is verified unless the operator says otherwise: uploads, looks and fetches alike."""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from luigisbox.client import Client, Settings
from luigisbox.connections import LinkAccess
from luigisbox.result_link import look
from vendor_http.errors import Unreachable
from vendor_http.retry import Retry


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def url(certificate: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            left = int(self.headers.get("Content-Length", 0))
            while left > 0:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.send_response(404 if self.command == "GET" else 200)
            self.end_headers()

        do_GET = do_POST  # noqa: N815

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def send(url: str, folder: Path, lines: Any, verify: bool | str) -> int:
    manifest = lines.write_chunks(folder, lines.user_lines("a") * 200_000)
    client = Client(Settings(url, "1-2", "key", verify=verify), Retry(attempts=1))
    return client.upload_users([folder / "chunks/users-00000.json"], manifest).status


def test_an_unknown_certificate_is_refused(url: str, tmp_path: Path, lines: Any) -> None:
    with pytest.raises(Unreachable, match="certificate"):
        send(url, tmp_path, lines, True)
    assert "certificate" in asyncio.run(look(url + "/x", LinkAccess())).reason


def test_the_operators_own_certificates_are_taken(url: str, certificate: Path, tmp_path: Path, lines: Any) -> None:
    assert send(url, tmp_path, lines, str(certificate)) == 200
    assert "404" in asyncio.run(look(url + "/x", LinkAccess(verify=str(certificate)))).reason


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_verification_can_be_turned_off(
    url: str, tmp_path: Path, lines: Any, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("none.pem")))
    assert send(url, tmp_path, lines, False) == 200
    assert "404" in asyncio.run(look(url + "/x", LinkAccess(verify=False))).reason
