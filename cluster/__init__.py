"""The cluster of ``docker-compose.yaml``, without containers: its services as processes of this machine."""
