#!/usr/bin/env bash
# A CI job that tests a network: it builds one from a file, deploys services of its own in it, and asserts who reaches whom.
# In a private machine: no root needed, nothing on the runner changed, gone at the end.
#
#   scripts/ci-example.sh [RESULTS.xml]        ends with 0 if all is as expected, and writes JUnit XML
set -euo pipefail

# All of it again, inside of a sandbox.
[ -d /run/vpcctl-sandbox ] || exec vpcctl sandbox -- "$0" "$@"

results=${1:-$(mktemp --suffix=.xml)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/net.yaml" <<'NET'
version: 1
vpcs:
  - name: shop
    cidr: 10.0.0.0/16
    nat: true
    subnets:
      - {name: web, cidr: 10.0.1.0/24, type: public, instances: [{name: two}]}
      - name: db
        cidr: 10.0.2.0/24
        policy:
          ingress: [{port: 5432, source: 10.0.1.0/24, action: allow}]
          egress: [{protocol: all, destination: 10.0.0.0/16, action: allow}]
  - name: office
    cidr: 10.1.0.0/16
    subnets:
      - {name: desks, cidr: 10.1.1.0/24}
  - name: lab
    cidr: 10.2.0.0/16
    subnets:
      - {name: bench, cidr: 10.2.1.0/24}
peerings:
  - vpcs: [shop, office]
    allow: [{src: 10.1.0.0/16, dst: 10.0.1.0/24}]
expect:
  - web -> db:5432 allow               # each instance of the subnet
  - web -> db:22 deny
  - office -> web:8080 allow
  - office -> db deny                  # nothing at all: ping, TCP, UDP
  - lab -> shop deny                   # not peered
  - web -> internet allow
  - db -> internet deny
  - host -> shop/web/two:8080 allow
  - shop -> host deny
  - internet -> shop deny
NET

vpcctl -q apply -f "$work/net.yaml"

# The services under test. Any program will do: `vpcctl deploy-app shop/web --port 8080 -- ./my-server`.
vpcctl -q deploy-app shop/web --port 8080
vpcctl -q deploy-app shop/web/two --port 8080
vpcctl -q deploy-app shop/db --port 5432

vpcctl test -f "$work/net.yaml" --junit "$results"
