#!/usr/bin/env bash
# Does vpcctl work on this machine? For CI on a privileged runner: some seconds, quiet, and an exit code.
#
#   sudo scripts/smoke.sh                    with the `vpcctl` that is in PATH, or built here
#   vpcctl sandbox -- scripts/smoke.sh       without root
#
# It makes two VPCs, smoke1 and smoke2, asks them what they should and should not do, and takes them down. It talks to nobody
# but their instances. What fails is printed with its output, and the exit code is 1.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C no_proxy='*' NO_PROXY='*'
# The longest that one command may take, in seconds.
limit=30

stop() {
    printf 'error: %s\n hint: %s\n' "$1" "$2" >&2
    exit 1
}

wrong=0
# check WHAT COMMAND: it has to succeed.
check() {
    local output
    if ! output=$(timeout -k 5 "$limit" bash -c "$2" 2>&1 </dev/null); then
        printf 'FAIL  %s\n$ %s\n%s\n' "$1" "$2" "$output" >&2
        wrong=$((wrong + 1))
    fi
}

# check_not WHAT COMMAND: it has to fail with exit code 1: another one says that it could not be tried.
check_not() { check "$1" "$2; test \$? -eq 1"; }

[ "$(id -u)" -eq 0 ] || stop 'this needs root' 'sudo scripts/smoke.sh, or: vpcctl sandbox -- scripts/smoke.sh'
command -v vpcctl >/dev/null || PATH=$PWD/target/release:$PATH
command -v vpcctl >/dev/null || stop 'there is no vpcctl' 'make build'
for vpc in smoke1 smoke2; do
    if vpcctl inspect "$vpc" >/dev/null 2>&1; then
        stop "there is a VPC $vpc already" "sudo vpcctl delete-vpc $vpc, if an earlier run left it"
    fi
done
before=$(ip netns list | sort; iptables-save | grep -v '^[#:]' | sort)

cleanup() {
    local vpc
    for vpc in smoke1 smoke2; do
        timeout -k 5 "$limit" vpcctl --quiet delete-vpc --if-exists "$vpc" </dev/null
    done
    rm -f "$policy"
}
policy=$(mktemp --suffix .json)
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

reach='vpcctl test-connectivity'
check 'the host has what vpcctl needs' 'vpcctl doctor'
check 'two VPCs' 'vpcctl -q create-vpc smoke1 10.254.0.0/16 && vpcctl -q create-vpc smoke2 10.253.0.0/16'
check 'subnets' "vpcctl -q add-subnet smoke1/public 10.254.1.0/24 --public &&
    vpcctl -q add-subnet smoke1/private 10.254.2.0/24 && vpcctl -q add-subnet smoke2/app 10.253.1.0/24"
check 'subnets of a VPC reach each other' "$reach smoke1/public smoke1/private"
check_not 'VPCs do not' "$reach smoke1/public smoke2/app"
check 'a peering connects them' "vpcctl -q peer smoke1 smoke2 && $reach smoke1/public smoke2/app"
check_not 'and its end separates them' "vpcctl -q unpeer smoke1 smoke2 && $reach smoke1/public smoke2/app"
check 'apps' 'vpcctl -q deploy-app smoke1/public --port 80 && vpcctl -q deploy-app smoke1/public --port 22'
check 'they answer' "$reach smoke1/private smoke1/public --port 80 && $reach smoke1/private smoke1/public --port 22"
if vpcctl list | grep -qE '^smoke1 .* yes$'; then
    check 'the host reaches them' "$reach host smoke1/public --port 80"
fi
echo '{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}' >"$policy"
check 'a policy' "vpcctl -q apply-policy smoke1/public $policy"
check 'lets its ports in' "$reach smoke1/private smoke1/public --port 80"
check_not 'and no others' "$reach smoke1/private smoke1/public --port 22"
if [ -n "$(ip -4 route show default)" ]; then
    check 'NAT' 'vpcctl -q enable-nat smoke1'
    check 'is for the public subnet alone' "ip netns exec smoke1 iptables -t nat -S | grep MASQUERADE | grep 10.254.1.0/24 &&
        ! ip netns exec smoke1 iptables -t nat -S | grep 10.254.2.0/24"
fi
check 'the kernel has what the state says' "vpcctl restore 2>&1 | grep 'nothing changed'"
check 'all of it goes' 'vpcctl -q delete-vpc smoke1 && vpcctl -q delete-vpc smoke2'
after=$(ip netns list | sort; iptables-save | grep -v '^[#:]' | sort)
check 'nothing is left' "diff <(echo $(printf %q "$before")) <(echo $(printf %q "$after"))"

[ "$wrong" -eq 0 ] || exit 1
echo "vpcctl works on this machine ($SECONDS s)"
