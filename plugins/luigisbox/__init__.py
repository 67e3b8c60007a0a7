"""Luigi's Box for Airflow: signed uploads of user sets and past transactions, and the wait for a batch.

``auth`` signs, ``body`` streams, ``client`` sends, ``links`` looks at the result link; none of them imports Airflow.
``hooks``, ``operators`` and ``triggers`` are what DAGs use.
"""
