#!/usr/bin/env bash
# The story of a cloud network, told with real packets. Every step shows what is typed and what comes of it, and checks
# it; the script ends non-zero if anything is not as it should be.
#
#   make demo                      in a sandbox: no root needed, nothing on this machine changed
#   sudo scripts/demo.sh           on this machine itself, with a `vpcctl` that is in PATH or built here
#   sudo INTERNET_URL=http://… scripts/demo.sh   the same, and instances may ask that address
#
# On a real machine it talks to nobody but the instances that it makes, unless INTERNET_URL says so.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# What the tools say is compared, and nobody's proxy is asked.
export LC_ALL=C no_proxy='*' NO_PROXY='*'

# The longest that one command may take, in seconds; silence is an answer after `patience`, a refusal comes `at_once`.
limit=30 patience=2 at_once_ms=1500

if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

step=0
title() {
    step=$((step + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$plain"
}

say() { printf '   %s\n' "$1"; }

wrong=0
verdict() {
    if [ "$1" = good ]; then
        printf '   %s=> as it should be: %s%s\n' "$green" "$2" "$plain"
    else
        printf '   %s=> NOT as it should be: %s%s\n' "$red" "$2" "$plain"
        wrong=$((wrong + 1))
    fi
}

# run COMMAND: types and runs it. Leaves $output, $code and $ms.
run() {
    local began
    printf '   %s$ %s%s\n' "$bold" "$1" "$plain"
    began=$(date +%s%3N)
    output=$(timeout -k 5 "$limit" bash -c "$1" 2>&1 </dev/null)
    code=$?
    ms=$(($(date +%s%3N) - began))
}

show() { [ -z "$output" ] || printf '%s\n' "$output" | sed "s/^..*\$/     $dim&$plain/"; }

# Shows of the output only the lines that match.
show_only() { output=$(grep -E -e "$1" <<<"$output") && show; }

# does COMMAND: it has to succeed.
does() {
    run "$1"
    show
    [ "$code" -eq 0 ] || verdict bad "exit code $code"
}

# shows COMMAND PATTERN WHAT: it has to succeed and print what matches, of which WHAT is the meaning.
shows() {
    run "$1"
    show
    if [ "$code" -eq 0 ] && grep -qE -e "$2" <<<"$output"; then verdict good "$3"; else verdict bad "$3"; fi
}

# pings FROM ADDRESS WHAT
pings() {
    run "vpcctl exec $1 -- ping -c 1 -W $patience $2"
    show_only '^64 bytes|^From|packet loss'
    if [ "$code" -eq 0 ]; then verdict good "$3"; else verdict bad "$3"; fi
}

# refused COMMAND WHAT: it has to fail, and at once: something answers "no".
refused() {
    run "$1"
    show_only '^From|^curl|packet loss|refused|rror'
    if [ "$code" -eq 0 ] || [ "$code" -ge 124 ]; then
        verdict bad "$2"
    elif [ "$ms" -ge "$at_once_ms" ]; then
        verdict bad "$2, but only after $ms ms"
    else
        verdict good "$2, at once"
    fi
}

# silent COMMAND WHAT: it has to fail for lack of an answer.
silent() {
    run "$1"
    show
    if [ "$code" -ne 0 ] && [ "$code" -lt 124 ] && [ "$ms" -ge "$at_once_ms" ]; then
        verdict good "$2 (no answer in $patience s)"
    else
        verdict bad "$2 (exit code $code after $ms ms)"
    fi
}

# until_true COMMAND...: waits for a condition, ten seconds at most.
until_true() {
    local deadline=$((SECONDS + 10))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

# All that a VPC could leave behind on this machine, without counters and what changes by itself: IPv6 gives every link
# of the machine's an address some time after it is up, and VPCs have none.
snapshot() {
    echo '## namespaces' && ip netns list | sort
    echo '## links' && ip -o link | cut -d: -f2- | sort
    echo '## addresses' && ip -o addr | sed '/ fe80::/d; s/ *valid_lft.*//; s/ tentative//' | cut -d: -f2- | sort
    echo '## routes' && { ip -4 route show table all && ip -6 route show table all && ip rule; } | sed '/fe80::/d; s/ expires [0-9]*sec//' | sort
    echo '## iptables' && iptables-save | sed 's/\[[0-9:]*\]//; /^#/d'
    echo '## nftables' && nft list ruleset 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*/counter/'
    echo '## ipsets' && ipset list -name | sort
    echo '## forwarding' && sysctl -ae 2>/dev/null | grep -E '^net\.ipv[46]\.(ip_forward|conf\..*\.(mc_)?forwarding) ' | sort
}

# Takes down what this script made, however it ends.
made=''
cleanup() {
    local vpc
    for vpc in $made; do
        timeout -k 5 "$limit" vpcctl --quiet delete-vpc --if-exists "$vpc" </dev/null
    done
    rm -rf "$scratch"
}

stop() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2-}" ] || printf ' hint: %s\n' "$2" >&2
    exit 1
}

# --- before the story ---------------------------------------------------------------------------------------------

if [ -n "${VPCCTL_SANDBOX-}" ]; then
    internet=http://203.0.113.10/ answer='you are 198\.51\.100\.10$'
else
    internet=${INTERNET_URL-} answer=''
    [ "$(id -u)" -eq 0 ] || stop 'this needs root' 'sudo scripts/demo.sh, or without root: make demo'
    command -v vpcctl >/dev/null || PATH=$PWD/target/release:$PATH
fi
command -v vpcctl >/dev/null || stop 'there is no vpcctl' 'make build'
for vpc in vpc1 vpc2; do
    if vpcctl inspect "$vpc" >/dev/null 2>&1; then
        stop "this machine has a VPC $vpc already, and the demo uses that name" 'make demo has a sandbox of its own'
    fi
done

scratch=$(mktemp -d)
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
snapshot >"$scratch/before"

# --- the story ----------------------------------------------------------------------------------------------------

title 'Two VPCs, each with a public and a private subnet'
made='vpc1 vpc2'
does 'vpcctl create-vpc vpc1 10.0.0.0/16'
does 'vpcctl add-subnet vpc1 public 10.0.1.0/24 --type public'
does 'vpcctl add-subnet vpc1 private 10.0.2.0/24'
does 'vpcctl create-vpc vpc2 10.1.0.0/16'
does 'vpcctl add-subnet vpc2 public 10.1.1.0/24 --type public'
does 'vpcctl add-subnet vpc2 private 10.1.2.0/24'
shows 'vpcctl list' '^vpc2 +10\.1\.0\.0/16 +2 +2 ' 'two VPCs, two subnets each, an instance in every subnet'

title "Within a VPC, subnets reach each other by the VPC's router"
pings vpc1/public 10.0.2.2 'the private instance answers; ttl=63 says that a router is in between'

title 'Two VPCs are strangers'
refused "vpcctl exec vpc1/public -- ping -c 1 -W $patience 10.1.1.2" 'vpc1 does not reach vpc2'
refused "vpcctl exec vpc2/private -- ping -c 1 -W $patience 10.0.2.2" 'vpc2 does not reach vpc1'

title 'Until they are peered, and again when they are not'
does 'vpcctl peer vpc1 vpc2'
pings vpc1/public 10.1.2.2 'vpc1 reaches vpc2; ttl=62 says that two routers are in between'
pings vpc2/private 10.0.1.2 'and vpc2 reaches vpc1'
does 'vpcctl unpeer vpc1 vpc2'
refused "vpcctl exec vpc1/public -- ping -c 1 -W $patience 10.1.2.2" 'strangers again'

title 'The internet: for the public subnet only'
if [ -z "$internet" ]; then
    say 'Skipped: this is a real machine, and nothing here talks to strangers unasked.'
    say 'INTERNET_URL=http://… names an address to ask.'
elif [ -z "$(ip -4 route show default)" ]; then
    say 'Skipped: this machine has no default route.'
else
    does 'vpcctl enable-nat vpc1'
    shows "vpcctl exec vpc1/public -- curl -sS --max-time 5 $internet" "$answer" \
        "the public subnet is out${answer:+, and the internet sees the address of the host}"
    refused "vpcctl exec vpc1/private -- curl -sS --max-time 5 $internet" 'the private subnet is refused'
    does 'ip netns exec vpc1 iptables -t nat -S'
    if grep -q '10\.0\.1\.0/24 .*MASQUERADE' <<<"$output" && ! grep -q '10\.0\.2\.0/24' <<<"$output"; then
        verdict good 'the router masquerades the public subnet, and nothing else'
    else
        verdict bad 'the router masquerades the public subnet, and nothing else'
    fi
    # Elsewhere this ping might end at somebody who has that address outside.
    if [ -n "${VPCCTL_SANDBOX-}" ]; then
        refused "vpcctl exec vpc1/public -- ping -c 1 -W $patience 10.1.1.2" 'the way out is no way into vpc2'
        shows 'vpcctl exec vpc1/public -- curl -sS --max-time 5 http://example.com/' "$answer" 'names resolve there too'
    fi
fi

title 'A web server, and who reaches it'
does 'vpcctl deploy-app vpc1/public --port 80'
shows 'vpcctl list-apps' '^vpc1/public +10\.0\.1\.2:80 .*running' 'it runs in the background, watched over, without root'
shows 'vpcctl exec vpc1/private -- curl -sS --max-time 5 http://10.0.1.2/' '^hello' 'the private subnet reads the page'
if vpcctl list | grep -qE '^vpc1 .* yes$'; then
    shows 'curl -sS --max-time 5 http://10.0.1.2/' '^hello' 'so does the host'
else
    say "The host does not: 10.0.0.0/16 overlaps with what it routes elsewhere, and that goes first."
fi
refused 'vpcctl exec vpc2/public -- curl -sS --max-time 5 http://10.0.1.2/' 'vpc2 does not'

title 'A firewall policy: port 80 answers, port 22 does not'
does 'vpcctl deploy-app vpc1/public --port 22'
shows "vpcctl exec vpc1/private -- nc -zv -w $patience 10.0.1.2 22" 'succeeded|open' 'without a policy, port 22 answers'
does 'cat policies/web.json'
does 'vpcctl apply-policy vpc1/public policies/web.json'
shows 'vpcctl exec vpc1/private -- curl -sS --max-time 5 http://10.0.1.2/' '^hello' 'port 80 answers'
silent "vpcctl exec vpc1/private -- nc -zv -w $patience 10.0.1.2 22" 'port 22 does not'
pings vpc1/public 10.0.2.2 'what the instance opens itself gets its replies'

title 'Everybody to everybody'
if [ -n "${VPCCTL_SANDBOX-}" ]; then
    shows 'vpcctl test-connectivity --all' '^2 +vpc1/public +yes +- +(no|drop) +(no|drop) +yes$' \
        'the public instance reaches its own VPC and the internet, and no other VPC'
else
    say 'Skipped: this is a real machine, and vpcctl test-connectivity --all asks a real address too.'
fi

title 'Where to look'
shows 'vpcctl inspect vpc1' '^vpc1/public .* 2 in, 0 out +ok' 'the kernel has all that the state says'
shows 'ip -n vpc1 addr show br-vpc1' 'inet 10\.0\.2\.1/24' 'the gateways are addresses of the bridge'
shows 'ip netns exec vpc1-public iptables -S VPCCTL-INGRESS' 'dport 80 .*ACCEPT' "the policy is in the instance's namespace"

title 'All of it gone'
apps=$(vpcctl list-apps -o json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
[ "$(wc -w <<<"$apps")" -eq 2 ] || verdict bad 'there are two web servers'
does 'vpcctl delete-vpc vpc1'
does 'vpcctl delete-vpc vpc2'
made=''
for process in $apps; do
    until_true has_ended "$process" || verdict bad 'the web servers have ended with their instance'
done
# The kernel takes the last interfaces of a deleted namespace away a moment later.
left_as_found() { snapshot >"$scratch/after" && cmp -s "$scratch/before" "$scratch/after"; }
say 'The namespaces, links, addresses, routes, rules, sets and forwarding switches of this machine, before and now:'
printf '   %s$ diff before now%s\n' "$bold" "$plain"
until_true left_as_found
output=$(diff "$scratch/before" "$scratch/after")
show
if [ -z "$output" ]; then verdict good 'nothing is left'; else verdict bad 'nothing is left'; fi

if [ "$wrong" -eq 0 ]; then
    printf '\n%sAll is as it should be, in %d s.%s\n' "$bold" "$SECONDS" "$plain"
else
    printf '\n%s%d things are not as they should be.%s\n' "$red" "$wrong" "$plain"
    exit 1
fi
