"""What every run on other machines needs: a folder here, data, an initial model in the site's S3, and the way there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedtier.problems import StartupError
from fedtier.store import RoundStore
from fedtier.tls import Tls
from fedtier.token_sources import TokenPlace, single_token
from fedtier.upstream import Timeouts, Upstream
from fedtier_cli.client_data import ClientData
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.shipping import send_shards, shards_of_clients
from fedtier_cli.deploying.site import Host, Site
from fedtier_cli.display import Display
from fedtier_cli.preparing import initial_model, prepared_data, require_possible, untrained_model
from fedtier_cli.processes import Children
from fedtier_cli.published_task import require_published_of
from fedtier_cli.round_zero import publish_initial_model
from fedtier_cli.run_store import RunStore
from fedtier_cli.rundir import Federation, RunDirectory, claimed, label
from fedtier_cli.site_record import record_site, require_site, use_s3_of
from fedtier_cli.situation import plural
from fedtier_cli.training_run import Run, RunOptions, Surroundings
from fedtier_cli.workplace import without_own_settings

CLIENTS: Final = "clients"
_TIMEOUTS: Final = Timeouts(connect=5.0, read=15.0)
_TENSORBOARD_PORT: Final = 6006


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRun(Run):
    """A run whose servers and clients are on other machines."""

    playbooks: Playbooks
    site: Site
    server: str
    """Address of a worker aggregator or its load balancer."""
    shards: dict[str, Path]
    """Each client's data, by its id."""

    @property
    def is_elsewhere(self) -> bool:
        """Return False: a federation has one run directory here."""
        return False

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Those of the clients."""
        return self.site.group(CLIENTS)

    def scalars(self, tensorboard: str) -> list[tuple[str, str]]:
        """Return how to reach the site's TensorBoard, where it has one."""
        port = _TENSORBOARD_PORT
        return [
            ("TensorBoard", f"http://127.0.0.1:{port} while this runs: {shlex.join(host.ssh_tunnel(port))}")
            for host in self.site.group("tensorboard")[:1]
        ]

    def connection(self) -> Upstream:
        """Return a connection by which an operator asks how the round stands."""
        token = single_token(TokenPlace(file=self.site.operator_token_file), warn=lambda _: None)
        return Upstream(self.server, token=token, tls=Tls(ca_certs=self.site.ca_certs), timeouts=_TIMEOUTS)


@contextmanager
def prepared(
    options: RunOptions,
    playbooks: Playbooks,
    site: Site,
    server: str,
    surroundings: Surroundings,
    display: Display,
) -> Iterator[RemoteRun]:
    """Claim a run directory, and make the clients' data and the way to the site's S3 ready.

    Raises
    ------
    StartupError
        An option cannot be, or something that is needed cannot be had.
    """
    require_possible(options, more="have more client_ids in the inventory")
    _require_set_up(site)
    with ExitStack() as held:
        # Not the next that is free: two runs at once would be one federation's.
        usual = surroundings.home / "runs" / label(site.federation)
        directory = held.enter_context(claimed((options.run_dir or usual).absolute()))
        directory.require_task(options.task)
        require_site(directory, site)
        data = prepared_data(options, surroundings, directory, display)
        display.step("looking at the site's S3")
        use_s3_of(site, os.environ)
        store = RunStore(RoundStore(site.bucket_name, site.bucket_key))
        newest = store.newest_round()
        if newest is not None:
            _require_task(options, directory, data, store, display)
        # First: a directory without a federation is nobody's, and one without a site is this machine's.
        record_site(directory, site)
        directory.write_federation(
            Federation(
                task=options.task,
                bucket=site.bucket_name,
                bucket_key=site.bucket_key,
                test_data=str(data.test),
                endpoint=store.rounds.endpoint,
                master=server,
            )
        )
        children = held.enter_context(Children(directory.logs, without_own_settings(surroundings.environment)))
        yield RemoteRun(
            options=options,
            directory=directory,
            data=data,
            store=store,
            children=children,
            newest_round=newest,
            is_testable=True,
            playbooks=playbooks,
            site=site,
            server=server,
            shards=shards_of_clients(site, data.clients),
        )


def publish_round_0(run: RemoteRun, display: Display) -> None:
    """Publish the model that the run starts from, where nothing is published yet.

    Raises
    ------
    StartupError
    """
    model = initial_model(run, display)
    if model is not None:
        publish_initial_model(run.store.rounds, model)


def ship(run: RemoteRun, display: Display) -> None:
    """Send each client's data to its host, where they are not there already.

    Raises
    ------
    StartupError
    """
    display.step(f"sending {plural(len(run.shards), 'shard')} to {plural(len(run.hosts), 'client host')}")
    sent = send_shards(run.playbooks, run.shards)
    new = [one for one in sent if one.is_new]
    if new:
        display.note(f"{plural(len(new), 'shard')} of {len(sent)} sent, {sum(one.size for one in new)} bytes")


def _require_task(
    options: RunOptions, directory: RunDirectory, data: ClientData, store: RunStore, display: Display
) -> None:
    """Check that what is published is of the task; a directory that has a record knows its own."""
    if not directory.has_record:
        require_published_of(options.task, untrained_model(options, directory, data, display), store.rounds)


def _require_set_up(site: Site) -> None:
    """Check that this is a machine from which the site may be operated."""
    for path in (site.operator_token_file, site.ca_certs):
        if not path.is_file():
            raise StartupError(
                f"{path} is not there, so nobody here may ask the federation {site.federation}; set the hosts up "
                f"first, by infra/ansible/init.sh or fedtier deploy hosts, or bring the folder {site.secrets_dir} from "
                "the machine where that was done"
            )
