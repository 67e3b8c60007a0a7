"""The parts of one sandbox, wired together."""

from pathlib import Path

from starlette.requests import Request

from include.sandbox import auth
from include.sandbox.advisable.database import InteractionsDatabase
from include.sandbox.answers import Refused
from include.sandbox.batches import Publisher
from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.jobs import Jobs
from include.sandbox.journal import Journal
from include.sandbox.pins.database import PinsDatabase
from include.sandbox.settings import Settings
from include.sandbox.store import Store
from include.sandbox.uploads import Uploads


class Parts:
    """Everything that the routes use.

    Raises:
        BadInput: the configured catalogue cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock, self.journal = Clock(), Journal()
        self.faults = Faults(self.clock)
        self.store = Store(settings.state, settings.memory_limit)
        self.pins = PinsDatabase(settings.state)
        self.interactions = InteractionsDatabase(settings.state)
        self.uploads = Uploads(self.store, settings, self.clock)
        self.publisher = Publisher(self.store, settings, self.clock, self.faults)
        self.jobs = Jobs(self.store, self.uploads, self.publisher)
        if settings.catalogue is not None:
            self._take_catalogue(settings.catalogue)

    def _take_catalogue(self, file: Path) -> None:
        try:
            self.store.catalogue.replace(file)
        except BaseException:
            self.store.close()
            raise

    def check_signature(self, request: Request, tracker: str, unknown: int = 401) -> None:
        """Refuse what is not signed, or whose path names another tracker (with the status ``unknown``).

        Raises:
            Refused: with the reason.
        """
        path = request.scope["raw_path"].decode("latin-1")
        auth.verify(request.method, path, dict(request.headers), self.settings, self.clock)
        if tracker != self.settings.tracker:
            raise Refused(unknown, "the tracker in the path is not the one that this key belongs to")
