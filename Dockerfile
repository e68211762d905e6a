# One image for every process of the service; docker-compose.yml says which one each container runs.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git openssh-client bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/ao --shell /usr/sbin/nologin ao

WORKDIR /opt/ao
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --compile -r requirements.lock
COPY manage.py LICENSE ./
COPY aoweb aoweb
COPY orchestrator orchestrator
COPY workers workers
COPY ops ops
RUN python -m compileall -q aoweb orchestrator workers ops

ENV PYTHONUNBUFFERED=1 PYTHONPATH=/opt/ao AO_HOME=/var/lib/ao AO_BIND=0.0.0.0 AO_LOG_JSON=1
USER ao
VOLUME /var/lib/ao
EXPOSE 3000
CMD ["python", "-m", "ops.local.main", "run", "web"]
