"""The retry layer of Airflow's tasks, declared once: which failures a second try cannot mend.

Requests are tried again inside the clients (``vendor_http.retry``); this decides what happens when that was not
enough, or was pointless. Everything that is not named here follows the task's own ``retries``.
"""

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from include.errors import NotReady, PipelineError
from vendor_http.errors import FateUnknown, PermanentError

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=NotReady, action=RetryAction.DEFAULT, reason="waiting mends it"),
        RetryRule(
            exception=FateUnknown,
            action=RetryAction.FAIL,
            reason="Luigi's Box may have stored the file; it is never sent again by itself",
        ),
        RetryRule(
            exception=[PermanentError, PipelineError],
            action=RetryAction.FAIL,
            reason="the same again gives the same; something must be changed first",
        ),
    ]
)
