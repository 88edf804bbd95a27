# The images of a federation: `server` for masters, workers and their S3 server, `client` with torch, `tensorboard`, and
# `kubeflow`, in which the tasks of a pipeline run: a client that knows Kubeflow and Kubernetes.
#   docker build --target server --tag fedtier-server:0.1.0 .
# All of them run as user 10001, with a read-only root; only /tmp and /var/lib/fedtier are written to.
ARG PYTHON_VERSION=3.12
# The time that all files of a wheel have, and that keeps other times out of compiled Python.
ARG SOURCE_DATE_EPOCH=1577836800

FROM docker.io/library/python:${PYTHON_VERSION}-slim AS base
ARG SOURCE_DATE_EPOCH
# Nobody becomes another user in here. The standard library comes uncompiled, and what is compiled later cannot be kept
# on a read-only root: every process would begin with it.
RUN groupadd --gid 10001 fedtier \
    && useradd --no-log-init --uid 10001 --gid fedtier --home-dir /var/lib/fedtier --shell /usr/sbin/nologin fedtier \
    && install --directory --owner=fedtier --group=fedtier --mode=0750 /var/lib/fedtier \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && python -m compileall -q -x 'site-packages|lib2to3|idlelib|turtledemo' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/fedtier/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1


# What other stages install: the packages that each extra needs, and our own code. They differ, so that a change of code
# installs no package anew.
FROM base AS requirements
WORKDIR /requirements
COPY pyproject.toml constraints.txt ./
# Of setuptools, which some need when they run, the version stands where it builds our own code.
RUN python -c 'import pathlib, tomllib; \
whole = tomllib.loads(pathlib.Path("pyproject.toml").read_text()); \
project, build = whole["project"], whole["build-system"]["requires"]; \
lists = {name: project["dependencies"] + project["optional-dependencies"][name] for name in ("server", "client")}; \
lists |= {"tensorboard": ["tensorboard"], "kubeflow": [*project["optional-dependencies"]["kubeflow"], "boto3", "matplotlib"]}; \
lists |= {"constraints": pathlib.Path("constraints.txt").read_text().splitlines() + build}; \
[pathlib.Path(f"{name}.txt").write_text("\n".join(lines)) for name, lines in lists.items()]'

FROM base AS code
ARG SOURCE_DATE_EPOCH
RUN python -m venv --without-pip /opt/fedtier
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY fedtier fedtier
COPY client client
COPY worker_aggregator worker_aggregator
COPY master_aggregator master_aggregator
COPY fedtier_cli fedtier_cli
RUN pip --python /opt/fedtier/bin/python install --no-cache-dir --no-deps .


# Environments without pip of their own, and without what only developers of the packages need.
FROM base AS server-packages
ARG SOURCE_DATE_EPOCH
COPY --from=requirements /requirements /requirements
RUN python -m venv --without-pip /opt/fedtier \
    && pip --python /opt/fedtier/bin/python install --no-cache-dir \
        --constraint /requirements/constraints.txt --requirement /requirements/server.txt \
    && find /opt/fedtier/lib -type d -name tests -prune -exec rm -r {} + \
    && find /opt/fedtier/lib '(' -name '*.a' -o -name '*.h' -o -name '*.pyi' ')' -delete

FROM base AS client-packages
ARG SOURCE_DATE_EPOCH
# Where torch comes from: by default without CUDA, which is gigabytes. Empty: from where all other packages come from.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY --from=requirements /requirements /requirements
# Torch without its dependencies, which the usual index has. Nothing is compiled against it here; of its programs, it
# runs only the one that shares memory between processes.
RUN python -m venv --without-pip /opt/fedtier \
    && if [ -n "$TORCH_INDEX_URL" ]; then \
        pip --python /opt/fedtier/bin/python install --no-cache-dir --no-deps --index-url "$TORCH_INDEX_URL" \
            "$(grep '^torch==' /requirements/constraints.txt)"; \
    fi \
    && pip --python /opt/fedtier/bin/python install --no-cache-dir \
        --constraint /requirements/constraints.txt --requirement /requirements/client.txt \
    && find /opt/fedtier/lib -type d '(' -name tests -o -path '*/torch/test' -o -path '*/torch/include' ')' \
        -prune -exec rm -r {} + \
    && find /opt/fedtier/lib -path '*/torch/bin/*' ! -name torch_shm_manager -delete \
    && find /opt/fedtier/lib '(' -name '*.a' -o -name '*.h' -o -name '*.pyi' -o -path '*/torch/lib/*test.so' ')' -delete

# What a task of a pipeline needs besides a client: to run what KFP hands it, to reach Kubernetes and S3,
# and to draw. Only files that a client has not, so that they lie in one layer upon its own.
FROM client-packages AS kubeflow-packages
ARG SOURCE_DATE_EPOCH
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN find /opt/fedtier ! -type d | sort >/requirements/before \
    && pip --python /opt/fedtier/bin/python install --no-cache-dir \
        --constraint /requirements/constraints.txt --requirement /requirements/kubeflow.txt \
    && find /opt/fedtier/lib -type d -name tests -prune -exec rm -r {} + \
    && find /opt/fedtier/lib '(' -name '*.a' -o -name '*.h' -o -name '*.pyi' ')' -delete \
    && mkdir /added \
    && find /opt/fedtier ! -type d | sort | comm -13 /requirements/before - \
        | xargs --delimiter='\n' cp --archive --parents --target-directory=/added

# Nothing can be compiled later here either.
FROM base AS kubeflow-code
ARG SOURCE_DATE_EPOCH
WORKDIR /opt/fedtier-kubeflow
COPY infra infra
RUN chmod -R u=rwX,go=rX . && python -m compileall -q infra

FROM base AS tensorboard-packages
ARG SOURCE_DATE_EPOCH
COPY --from=requirements /requirements /requirements
RUN python -m venv --without-pip /opt/fedtier \
    && pip --python /opt/fedtier/bin/python install --no-cache-dir \
        --constraint /requirements/constraints.txt --requirement /requirements/tensorboard.txt \
    && find /opt/fedtier/lib -type d -name tests -prune -exec rm -r {} + \
    && find /opt/fedtier/lib '(' -name '*.a' -o -name '*.h' -o -name '*.pyi' ')' -delete


# None of the images has a HEALTHCHECK: one image is several programs, and whoever runs it asks /healthz or /readyz.
FROM base AS server
COPY --from=server-packages /opt/fedtier /opt/fedtier
COPY --from=code /opt/fedtier /opt/fedtier
LABEL org.opencontainers.image.title="fedtier-server" \
      org.opencontainers.image.description="Master and worker aggregators of fedtier, and an S3 server" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/fedtier
USER 10001:10001
EXPOSE 5000 5001
ENTRYPOINT ["fedtier"]

FROM base AS client
COPY --from=client-packages /opt/fedtier /opt/fedtier
COPY --from=code /opt/fedtier /opt/fedtier
LABEL org.opencontainers.image.title="fedtier-client" \
      org.opencontainers.image.description="Clients of fedtier, which train with torch" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/fedtier
USER 10001:10001
ENTRYPOINT ["fedtier"]

FROM base AS tensorboard
COPY --from=tensorboard-packages /opt/fedtier /opt/fedtier
LABEL org.opencontainers.image.title="fedtier-tensorboard" \
      org.opencontainers.image.description="TensorBoard, for what a master of fedtier writes" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/fedtier
USER 10001:10001
EXPOSE 6006
ENTRYPOINT ["tensorboard"]

# Kubeflow says what runs in here, so there is no entry point; and where a platform gives a task a user of its own, its home
# cannot be written to.
FROM client AS kubeflow
COPY --from=kubeflow-packages /added/opt/fedtier /opt/fedtier
COPY --from=kubeflow-code /opt/fedtier-kubeflow /opt/fedtier-kubeflow
ENV MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONPATH=/opt/fedtier-kubeflow
LABEL org.opencontainers.image.title="fedtier-kubeflow" \
      org.opencontainers.image.description="Tasks of fedtier's Kubeflow pipeline"
ENTRYPOINT []
CMD ["python3"]
