"""Kubeflow Pipelines as a run is given to it and asked about: its API, through the client that is generated for that.

That client alone, and not `kfp.Client` around it, which prints, sleeps between five tries of a wrong token, and keeps
settings of its own in the home folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import kfp_server_api
import urllib3
from kfp_server_api.exceptions import ApiException

from fedtier.plain_text import printable
from fedtier.problems import StartupError
from fedtier.tls_failures import tls_failure
from fedtier.urls import innermost_cause
from infra.kubeflow.progress import Node, Run

_SECONDS: Final = (10.0, 60.0)
"""To connect, and to answer."""
_EQUALS: Final = "EQUALS"
_SHOWN: Final = 500
"""Characters of what the service says of a refusal."""
_BEARER: Final = "authorization"


class Away(Exception):
    """The service does not answer now, and may do so later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the service is, and who asks.

    Parameters
    ----------
    host : str
        Address of the API, and of its pages.
    namespace : str or None
        Of whose runs these are, where the service has many users.
    token_file : Path or None
        Read anew for each request: tokens of service accounts are replaced while a run lasts.
    ca_certs : Path or None
        PEM file of the authorities whose certificates are believed; None are those that are publicly known.
    """

    host: str
    namespace: str | None = None
    token_file: Path | None = None
    ca_certs: Path | None = None

    def page(self, run_id: str) -> str:
        """Return the address at which a person sees a run."""
        return f"{self.host}/#/runs/details/{run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run.

    Parameters
    ----------
    pipeline : Mapping
        The pipeline's specification, the first document of a compiled one.
    platform : Mapping
        The second: what only Kubernetes knows. May be empty.
    arguments : Mapping of str to any
        Parameters by name.
    name : str
        Of the run.
    experiment : str
        It is made unless it is there.
    service_account : str or None
        Of the run's pods; None is the service's own choice.
    """

    pipeline: Mapping[str, Any]
    platform: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str
    experiment: str
    service_account: str | None = None


class Service:
    """A connection to Kubeflow Pipelines.

    Parameters
    ----------
    place : Place
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        client = kfp_server_api.ApiClient(_settings(place))
        self._experiments = kfp_server_api.ExperimentServiceApi(client)
        self._runs = kfp_server_api.RunServiceApi(client)
        self._health = kfp_server_api.HealthzServiceApi(client)

    def submit(self, order: Order) -> str:
        """Have a pipeline run, and return the run's id.

        Raises
        ------
        StartupError
            The service is away or refuses, or it is none.
        """
        try:
            with self._asked():
                self._require_service()
                experiment = self._experiment(order.experiment)
                made = self._runs.run_service_create_run(run=_run(order, experiment), _request_timeout=_SECONDS)
        except Away as error:
            raise StartupError(f"{error}; start it, or name another by --host") from None
        return str(made.run_id)

    def look(self, run_id: str) -> Run:
        """Return how a run stands.

        Raises
        ------
        Away
        StartupError
            The service refuses.
        """
        with self._asked():
            return run_of(self._runs.run_service_get_run(run_id=run_id, _request_timeout=_SECONDS))

    def _require_service(self) -> None:
        """Find out whether that is Kubeflow, and not the page on which one logs in."""
        answer = self._health.healthz_service_get_healthz(_preload_content=False, _request_timeout=_SECONDS)
        try:
            said = json.loads(answer.data)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise StartupError(
                f"{self._place.host} answers, but not as the API of Kubeflow Pipelines does; where it first asks who "
                "you are, give a token by --token-file, and elsewhere another --host"
            )
        if said.get("multi_user") and self._place.namespace is None:
            raise StartupError(
                f"{self._place.host} has many users, each with a namespace of runs; name yours by --namespace"
            )

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment of that name; it is made unless it is there."""
        wanted = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
        where = {} if self._place.namespace is None else {"namespace": self._place.namespace}
        found = self._experiments.experiment_service_list_experiments(
            filter=json.dumps({"predicates": [wanted]}), _request_timeout=_SECONDS, **where
        )
        if found.experiments:
            return str(found.experiments[0].experiment_id)
        made = self._experiments.experiment_service_create_experiment(
            experiment=kfp_server_api.V2beta1Experiment(display_name=name, **where), _request_timeout=_SECONDS
        )
        return str(made.experiment_id)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        host = self._place.host
        try:
            yield
        except ApiException as error:
            if error.status in (0, 429) or error.status >= 500:
                raise Away(f"{host} does not answer: {_said(error)}") from None
            raise StartupError(_refusal(self._place, error)) from None
        except urllib3.exceptions.HTTPError as error:
            if (distrust := tls_failure(error, host)) is not None:
                raise StartupError(distrust) from None
            raise Away(f"{host} does not answer: {printable(innermost_cause(error))}") from None


def run_of(answer: Any) -> Run:
    """Return a run out of what the service says of it, a ``V2beta1Run``."""
    details = [] if answer.run_details is None else answer.run_details.task_details or []
    return Run(state=answer.state, nodes=[_node(one) for one in details], error=_message(answer.error))


def _node(detail: Any) -> Node:
    # What has not come yet is the beginning of 1970.
    started, ended = _moment(detail.start_time), _moment(detail.end_time)
    return Node(
        identity=str(detail.task_id),
        key=str(detail.display_name),
        state=detail.state,
        started=started,
        seconds=None if started is None or ended is None else ended - started,
        error=_message(detail.error),
        pod=printable(detail.pod_name or ""),
    )


def _moment(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None and time.timestamp() > 0 else None


def _message(error: Any) -> str:
    return "" if error is None else printable(str(error.message or "").strip())


def _settings(place: Place) -> kfp_server_api.Configuration:
    settings = kfp_server_api.Configuration(host=place.host)
    settings.ssl_ca_cert = None if place.ca_certs is None else str(place.ca_certs)
    token_file = place.token_file
    if token_file is not None:

        def read_token(to: kfp_server_api.Configuration) -> None:
            to.api_key[_BEARER] = _token(token_file)

        settings.api_key[_BEARER] = _token(token_file)
        settings.api_key_prefix[_BEARER] = "Bearer"
        settings.refresh_api_key_hook = read_token
    return settings


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise StartupError(f"--token-file {path} cannot be read ({reason})") from None
    if not token.isprintable() or not token or " " in token:
        raise StartupError(f"--token-file {path} does not hold one token and nothing else")
    return token


def _run(order: Order, experiment: str) -> kfp_server_api.V2beta1Run:
    whole = {"pipeline_spec": order.pipeline, "platform_spec": order.platform} if order.platform else order.pipeline
    return kfp_server_api.V2beta1Run(
        experiment_id=experiment,
        display_name=order.name,
        pipeline_spec=whole,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(order.arguments)),
        service_account=order.service_account,
    )


def _refusal(place: Place, error: ApiException) -> str:
    said = _said(error)
    if error.status == 401 and place.token_file is None:
        return f"{place.host} asks who you are: {said}; give a token by --token-file"
    if error.status == 401:
        return f"{place.host} does not take the token in {place.token_file}: {said}"
    if error.status == 403:
        return f"{place.host} does not allow this: {said}; --namespace says whose runs these are"
    if error.status in (404, 405):
        return f"{place.host} does not have what was asked: {said}; --host is the address below which /apis/v2beta1 is"
    return f"{place.host} refuses: {said}"


def _said(error: ApiException) -> str:
    """Return the sentence of a refusal, without the stack of calls that Kubeflow puts beside it."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        body = None
    sentence = body.get("message") or body.get("error") if isinstance(body, dict) else None
    return printable(str(sentence or f"{error.status} {error.reason}").strip())[:_SHOWN]
