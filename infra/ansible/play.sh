# shellcheck shell=bash
# Sourced by the scripts beside it: one playbook, with Ansible from the virtual environment of the checkout.
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/setup.sh"

ansible="$checkout/infra/ansible"

# Print how a script is called: its name and own arguments, and what it does.
usage() {
    cat <<USAGE
Usage: infra/ansible/$1 [--inventory FILE] [--key_path KEY] [argument of ansible-playbook ...]

$2

  --inventory FILE  the hosts; by default infra/ansible/inventory/hosts.yml (lab.example.yml there shows how to write it)
  --key_path KEY    the SSH key by which they are reached
USAGE
}

# Run a playbook: its name, then the arguments of the script.
play() {
    local playbook="$1" inventory="" words=()
    shift
    while (($#)); do
        case "$1" in
            --inventory | -i | --key_path | --key-path)
                (($# > 1)) || fail "$1 needs a value"
                if [[ "$1" == --key* ]]; then
                    words+=(--private-key "$2")
                else
                    inventory="$2"
                fi
                shift 2
                ;;
            --inventory=*)
                inventory="${1#*=}"
                shift
                ;;
            --key_path=* | --key-path=*)
                words+=(--private-key "${1#*=}")
                shift
                ;;
            *)
                words+=("$1")
                shift
                ;;
        esac
    done
    inventory="${inventory:-$ansible/inventory/hosts.yml}"
    [[ -e "$inventory" ]] || fail "there is no inventory $inventory; copy $ansible/inventory/lab.example.yml, or name another by --inventory"
    set_up deploy
    export ANSIBLE_CONFIG="$ansible/ansible.cfg"
    exec "$venv/bin/ansible-playbook" --inventory "$inventory" ${words[@]+"${words[@]}"} "$ansible/playbooks/$playbook.yml"
}
