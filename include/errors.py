"""The errors of the pure pipeline.

    PipelineError            a person must change something; trying again cannot help
    ├── ConfigError          a publisher file, a parameter or a setting is wrong
    │   └── StoreRefused     the object store of the staged files cannot be used as it is set up
    ├── BadInput             data that came in cannot be used as it is
    ├── BooksDoNotBalance    rows went missing or appeared between two steps
    └── NotReady             not yet: what is needed is not there, or in use; the only one that waiting mends

    StoreError               an object store does not answer as it should; another try may help

Errors of the vendors' HTTP answers live in ``vendor_http.errors``.
"""


class PipelineError(Exception):
    """A person must change something; trying again cannot help."""


class ConfigError(PipelineError):
    """A publisher file, a parameter or a setting is wrong."""


class StoreRefused(ConfigError):
    """The object store of the staged files cannot be used as it is set up."""


class BadInput(PipelineError):
    """Data that came in cannot be used as it is."""


class BooksDoNotBalance(PipelineError):
    """Rows went missing or appeared between two steps."""


class NotReady(PipelineError):
    """The batch is not there yet, or not whole: the only one of these that waiting mends."""


class StoreError(Exception):
    """An object store does not answer as it should; another try may help."""
