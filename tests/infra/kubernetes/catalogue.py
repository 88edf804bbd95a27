"""All rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tests.infra.kubernetes.manifests import Manifests
from tests.infra.kubernetes.rules import (
    addresses,
    amounts,
    eks_cluster,
    endings,
    images,
    jobs,
    paths,
    pod_security,
    ports,
    references,
    scaling,
    secrecy,
    selectors,
    settings,
)

Rule = Callable[[Manifests], Iterator[str]]

ABOUT_THE_REPOSITORY: Final[list[Rule]] = [secrecy.manifests_hold_no_secret]
"""Asked of what is applied from the repository alone."""
ABOUT_EVERYTHING: Final[list[Rule]] = [
    selectors.selectors_match_what_they_mean,
    selectors.spread_counts_the_pods_that_it_spreads,
    selectors.policies_select_somebody,
    ports.service_ports_lead_to_ports_of_the_pods,
    ports.probes_ask_ports_of_their_container,
    ports.names_of_ports_are_unique_in_a_pod,
    ports.what_a_service_sends_to_has_a_readiness_probe,
    amounts.containers_ask_for_what_they_may_have,
    amounts.volumes_have_a_size,
    references.keys_that_are_read_exist,
    references.nothing_is_made_that_nobody_reads,
    references.accounts_and_claims_exist,
    references.mounts_have_volumes,
    references.classes_exist,
    addresses.names_of_hosts_are_services,
    addresses.services_for_pods_have_the_ports_of_the_pods,
    scaling.targets_exist,
    scaling.what_is_measured_is_asked_for,
    scaling.sets_have_a_service_of_their_own,
    scaling.disruptions_leave_room,
    pod_security.pods_are_restricted,
    pod_security.pods_may_do_no_more_than_they_need,
    settings.containers_run_commands,
    settings.variables_are_read,
    settings.values_are_taken,
    settings.programs_for_others_are_guarded,
    settings.listening_ports_are_declared,
    paths.paths_lie_on_volumes,
    paths.written_paths_can_be_written,
    paths.parts_of_volumes_are_there,
    endings.pods_end_before_they_are_killed,
    endings.what_is_scaled_down_drains,
    images.images_are_ours_or_pinned,
    images.commands_are_in_their_image,
    secrecy.secrets_are_files,
    jobs.every_client_has_a_pod,
    jobs.a_client_that_is_stopped_comes_back,
]
"""Asked of that together with the Secrets."""
ABOUT_EKS: Final[list[Rule]] = [
    eks_cluster.the_cluster_is_where_the_bucket_is,
    eks_cluster.servers_have_two_nodes_that_stay,
    eks_cluster.clients_and_nobody_else_run_on_spot_instances,
    eks_cluster.pods_have_room_on_their_nodes,
    eks_cluster.only_the_master_has_a_role,
    eks_cluster.the_master_may_do_what_it_needs_in_one_prefix_of_one_bucket,
    eks_cluster.what_the_manifests_build_on_is_there,
    eks_cluster.the_load_balancer_controller_has_its_rights,
    eks_cluster.pods_get_nothing_of_their_node,
]
"""Asked of the EKS overlay together with `eks-cluster.yaml`."""
