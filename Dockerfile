# The image of every service: plain Python with the pinned requirements and this project, nothing else. Airflow's own
# image would bring its own versions of what is pinned here, and some eighty providers.
ARG PYTHON=3.12.12-slim-bookworm

FROM python:${PYTHON} AS build
# One environment, made where it will lie: its scripts name their interpreter.
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-cluster.txt /project/
RUN pip install --no-deps --only-binary :all: --requirement /project/requirements-cluster.txt
# More providers, of your warehouse or another auth manager, pinned: --build-arg MORE="apache-airflow-providers-…==…"
ARG MORE=""
RUN test -z "$MORE" || pip install --constraint /project/requirements-cluster.txt $MORE
COPY pyproject.toml README.md LICENSE /project/
COPY include /project/include
COPY plugins /project/plugins
RUN pip install --no-deps /project && pip check && pip uninstall --yes pip

FROM python:${PYTHON}
ENV PATH=/opt/venv/bin:$PATH \
    AIRFLOW_HOME=/opt/airflow \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1
# Volumes that are empty at first take over the owner of the folders they cover.
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --no-log-init airflow \
    && install --directory --owner airflow --group 0 --mode 0775 \
        /opt/airflow /opt/airflow/sandbox /opt/airflow/publishers
COPY --from=build /opt/venv /opt/venv
COPY --chown=airflow:0 dags /opt/airflow/dags
WORKDIR /opt/airflow
USER airflow
CMD ["airflow", "version"]
