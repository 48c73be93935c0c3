#!/usr/bin/env bash
# Removes all that vpcctl made on this host, where vpcctl itself can't: its binary is gone, or its state file is lost or
# damaged. `vpcctl cleanup-all` is the better way where it works.
#
# What is vpcctl's is found by its marks alone: an alias `vpcctl:…` of an interface (of a namespace: of its `lo`), a rule
# comment `vpcctl:…`, the route protocol 118 in the tables 30320 and 30321, and the two rules that lead there. What has such
# a name without the mark is left alone and named. It may be run again.
#
# Exit codes: 0 all is gone, 1 something is left, 2 bad usage, 5 not root, 6 a tool is missing, 7 vpcctl is at work.
set -uo pipefail
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

usage='usage: scripts/cleanup.sh [--yes] [--dry-run] [--state-dir DIR]

Removes all that vpcctl made on this host, found by its marks.

  -y, --yes        do not ask
  --dry-run        print what would be removed, change nothing
  --state-dir DIR  where the state lives [VPCCTL_STATE_DIR, or /var/lib/vpcctl]'

state_dir=${VPCCTL_STATE_DIR:-/var/lib/vpcctl}
yes=no
dry_run=no
removed=0
left=0

fail() {
    printf 'error: %s\n hint: %s\n' "$2" "$3" >&2
    exit "$1"
}

note() {
    printf 'note: %s\n' "$*" >&2
}

# Says what goes, and runs the command that removes it.
remove() {
    local what=$1 output
    shift
    if [ "$dry_run" = yes ]; then
        printf 'would remove %s\n' "$what"
    elif output=$("$@" 2>&1); then
        printf 'removed %s\n' "$what"
    else
        printf 'error: cannot remove %s: %s\n' "$what" "${output:-no reason given}" >&2
        left=$((left + 1))
        return
    fi
    removed=$((removed + 1))
}

# Does this line of `ip -o link` end in an alias that is vpcctl's? The alias comes last, and may hold anything.
is_marked() {
    local alias
    case $1 in
    *'\    alias '*) alias=${1#*'\    alias '} ;;
    *) return 1 ;;
    esac
    # Other names of the link may come after it.
    alias=${alias%%\\*}
    case $alias in
    vpcctl:*[!A-Za-z0-9/_+-]* | vpcctl:) return 1 ;;
    vpcctl:*) return 0 ;;
    *) return 1 ;;
    esac
}

write_0() { printf '0\n' >"$1"; }

# The namespaces whose `lo` bears the mark, of those that vpcctl could have named so.
namespaces() {
    local file name
    for file in /run/netns/*; do
        name=${file##*/}
        case $name in
        '' | -* | *[!A-Za-z0-9_-]*) continue ;;
        esac
        if [ -e "$file" ] && is_marked "$(ip -n "$name" -o link show dev lo 2>/dev/null)"; then
            printf '%s\n' "$name"
        fi
    done
}

# The host's interfaces that bear the mark. `lo` is never one: inside of an instance it would be.
links() {
    local line name
    ip -o link | while IFS= read -r line; do
        name=${line#*: }
        name=${name%%[:@]*}
        case $name in
        lo | '' | *[!A-Za-z0-9_-]*) continue ;;
        esac
        ! is_marked "$line" || printf '%s\n' "$name"
    done
}

# The iptables to look with: both flavours where both are, since what the host chooses may have changed. The kernel's list of
# legacy's tables is asked first: the tool would load the module.
flavours() {
    if ! command -v iptables-nft-save >/dev/null || ! command -v iptables-legacy-save >/dev/null; then
        echo iptables
        return
    fi
    echo iptables-nft
    ! grep -qs . /proc/net/ip_tables_names || echo iptables-legacy
}

# Chains of our name in a flavour, as `TABLE CHAIN`, in which a rule bears the mark or in which there is none.
chains() {
    "$1-save" 2>/dev/null | awk '
        /^\*/ { table = substr($1, 2) }
        /^:VPCCTL-/ { name = table " " substr($1, 2); order[++n] = name }
        /^-A VPCCTL-/ { name = table " " $2; rules[name]++; if (/--comment "?vpcctl:/) marked[name]++ }
        END { for (i = 1; i <= n; i++) if (marked[order[i]] || !rules[order[i]]) print order[i]; else print order[i], "foreign" }'
}

# WAN interfaces that did not forward before vpcctl came: its rules close them for others, and the state file names them.
switched_on() {
    {
        switched_on_by_rules
        sed -n '/"wans": {/,/^      }/p' "$state_dir/state.json" 2>/dev/null | awk '
            /": {/ { gsub(/[ ":{]/, ""); wan = $0 }
            /"forwarding_before": false/ { print wan }'
    } | sort -u
}

switched_on_by_rules() {
    local iptables
    for iptables in $(flavours); do
        "$iptables-save" -t filter 2>/dev/null
    done |
        sed -n 's/^-A VPCCTL-FORWARD -i \([^ ]*\) .*--comment "vpcctl:[0-9a-f]* the LAN is routed to .*/\1/p'
}

# The routing rules of ours that are there, as `ip rule del` takes them.
rules() {
    ip rule show pref 31000 | grep -q 'from all iif lo lookup 30320 *$' && echo 'pref 31000 iif lo lookup 30320'
    ip rule show pref 31001 | grep -q 'from all lookup 30321 *$' && echo 'pref 31001 lookup 30321'
}

routes() {
    local table
    for table in 30320 30321; do
        ip route show table "$table" proto 118 2>/dev/null | sed "s/^/$table /"
    done
}

# What the state file says of tables and chains that came with vpcctl's rules: `table NAME` and `chain TABLE NAME`. It is the
# layout that vpcctl writes; of a damaged file it is what can still be read.
leftovers() {
    cat "$state_dir/intent.json" "$state_dir/state.json" 2>/dev/null | awk '
        function word() { gsub(/[ ",]/, ""); return $0 }
        /"own_tables": \[/ { inside = "table"; next }
        /"own_chains": \[/ { inside = "chain"; next }
        /^      \]/ { inside = ""; next }
        inside == "table" && /"/ { print "table", word() }
        inside == "chain" && /^ *\[/ { pair = "" ; next }
        inside == "chain" && /^ *\]/ { print "chain" pair; next }
        inside == "chain" && /"/ { pair = pair " " word() }' | grep -xE '(table [a-z]+|chain [a-z]+ [A-Z]+)' | sort -ru
}

# Ends what lives in a namespace: it is looked for anew each time, so that no number that was used again is hit.
end_processes() {
    local pids deadline signal
    pids=$(ip netns pids "$1" 2>/dev/null)
    [ -n "$pids" ] || return 0
    for signal in TERM KILL; do
        # shellcheck disable=SC2086 # a list of numbers
        kill -s "$signal" $pids 2>/dev/null
        deadline=$((SECONDS + 3))
        while pids=$(ip netns pids "$1" 2>/dev/null) && [ -n "$pids" ]; do
            [ "$SECONDS" -lt "$deadline" ] || break
            sleep 0.05
        done
        [ -n "$pids" ] || return 0
    done
    echo "they did not end: $pids"
    return 1
}

# Lets the namespace's processes go first: they would keep it alive.
clean_namespaces() {
    local netns pids
    for netns in $(namespaces); do
        pids=$(ip netns pids "$netns" 2>/dev/null | tr '\n' ' ')
        [ -z "$pids" ] || remove "processes in namespace $netns: ${pids% }" end_processes "$netns"
        remove "namespace $netns" ip netns del "$netns"
    done
}

clean_links() {
    local link
    for link in $(links); do
        remove "interface $link" ip link del dev "$link"
    done
}

clean_routes() {
    local table route rule
    while read -r table route; do
        [ -n "$table" ] || continue
        # shellcheck disable=SC2086 # words
        remove "route $route of table $table" ip route del $route proto 118 table "$table"
    done <<<"$(routes | sed 's/ linkdown//; s/ dead//')"
    while read -r rule; do
        [ -n "$rule" ] || continue
        # shellcheck disable=SC2086 # words
        remove "rule $rule" ip rule del $rule
    done <<<"$(rules)"
}

# Before the rules go that close it.
clean_forwarding() {
    local wan key
    [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ] || return 0
    for wan in $(switched_on); do
        key=/proc/sys/net/ipv4/conf/$wan/forwarding
        if [ -e "$key" ] && [ "$(cat "$key")" = 1 ]; then
            remove "forwarding on $wan" write_0 "$key"
        fi
    done
}

# One chain with all jumps to it from the built-in chain that it is named after, at once. Where somebody else jumps to it,
# nothing of it goes.
remove_chain() {
    local iptables=$1 table=$2 chain=$3 builtin=${3#VPCCTL-} count
    count=$("$iptables-save" -t "$table" | grep -cxe "-A $builtin -j $chain")
    {
        echo "*$table"
        while [ "$count" -gt 0 ]; do
            echo "-D $builtin -j $chain"
            count=$((count - 1))
        done
        printf '%s\n' "-F $chain" "-X $chain" COMMIT
    } | "$iptables-restore" -w 30 --noflush
}

clean_chains() {
    local iptables table chain foreign
    for iptables in $(flavours); do
        while read -r table chain foreign; do
            if [ -z "$table" ] || [ -n "$foreign" ]; then
                continue
            fi
            remove "chain $chain of table $table" remove_chain "$iptables" "$table" "$chain"
        done <<<"$(chains "$iptables")"
    done
}

# Tables and built-in chains that came with vpcctl's rules, where nothing is in them by now.
clean_leftovers() {
    local kind table chain
    command -v nft >/dev/null || return 0
    while read -r kind table chain; do
        [ -n "$kind" ] || continue
        nft list "$kind" ip "$table" ${chain:+"$chain"} >/dev/null 2>&1 || continue
        if ! "$(flavours | head -n 1)-save" -t "$table" | grep -q -e "^-A ${chain:+$chain }" -e "^:${chain:-[^ ]*} [^A]"; then
            remove "empty $kind $table${chain:+ $chain}" nft delete "$kind" ip "$table" ${chain:+"$chain"}
        fi
    done <<<"$1"
}

is_valid() {
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["version"] == 1' "$1" 2>/dev/null
    elif command -v jq >/dev/null; then
        jq -e '.version == 1' "$1" >/dev/null 2>&1
    else
        # What can't be checked is kept.
        return 1
    fi
}

# The action log and the lock stay.
clean_files() {
    local file aside
    for file in state.json intent.json state.json.new; do
        [ -f "$state_dir/$file" ] || continue
        if is_valid "$state_dir/$file" || [ "$file" = state.json.new ]; then
            remove "$state_dir/$file" rm -f -- "$state_dir/$file"
        else
            aside=$file.damaged-$(date -u +%Y%m%dT%H%M%SZ)
            remove "damaged $state_dir/$file: it is $aside now" mv -- "$state_dir/$file" "$state_dir/$aside"
        fi
    done
    if [ -d "$state_dir/apps" ] && [ ! -L "$state_dir/apps" ] && [ -n "$(ls -A "$state_dir/apps")" ]; then
        remove "files in $state_dir/apps" find "$state_dir/apps" -delete
    fi
}

# The name servers of namespaces, where the file says that it is vpcctl's.
clean_resolvers() {
    local file
    for file in /etc/netns/*/resolv.conf; do
        if [ -f "$file" ] && [ ! -L "$file" ] && [ "$(head -n 1 "$file")" = '# made by vpcctl' ]; then
            remove "$file" rm -f -- "$file"
            [ "$dry_run" = yes ] || rmdir -- "${file%/*}" /etc/netns 2>/dev/null
        fi
    done
}

# What looks like vpcctl's and doesn't say so.
name_strangers() {
    local table chain foreign name marked vpc
    while read -r table chain foreign; do
        [ -z "$foreign" ] || note "chain $chain of table $table has the name but no rule with the mark: left alone"
    done <<<"$(for iptables in $(flavours); do chains "$iptables"; done)"
    for name in $(ip -o link | sed -n 's/^[0-9]*: \(vpc-[^:@]*\)[:@].*/\1/p'); do
        links | grep -qx -e "$name" || note "interface $name has the name but not the mark: left alone"
    done
    for name in $(ipset list -n 2>/dev/null | grep '^vpcctl-'); do
        note "ipset $name: vpcctl makes none on the host: left alone"
    done
    marked=$(namespaces)
    for name in /run/netns/*; do
        name=${name##*/}
        for vpc in $marked; do
            case $name in
            "$vpc"-*) grep -qxF -e "$name" <<<"$marked" || note "namespace $name has the name but not the mark: left alone" ;;
            esac
        done
    done
}

check() {
    local tool
    for tool in ip iptables-save iptables-restore flock; do
        command -v "$tool" >/dev/null || fail 6 "the program \`$tool\` is missing" 'install iproute2, iptables and util-linux'
    done
    [ "$(id -u)" -eq 0 ] || fail 5 'cleaning up needs root' 'run it with sudo'
    if ip link show dev lo | grep -q 'alias vpcctl:'; then
        fail 6 'this is the inside of a namespace of vpcctl' 'start it on the host: leave the shell of the instance first'
    fi
}

ask() {
    local answer
    if [ ! -t 0 ]; then
        fail 2 'nobody is there to be asked' '--yes removes it without asking, --dry-run shows what'
    fi
    printf 'this removes all that is marked as vpcctl'\''s, whatever its state directory: %s namespaces, %s interfaces\n' \
        "$(namespaces | wc -l)" "$(links | wc -l)" >&2
    printf 'go on? [y/N] ' >&2
    read -r answer || answer=
    case $answer in
    y | Y | yes | Yes | YES) ;;
    *) fail 1 'not confirmed: nothing was removed' '--dry-run shows what would be' ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
    -y | --yes) yes=yes ;;
    --dry-run) dry_run=yes ;;
    --state-dir)
        [ $# -ge 2 ] || fail 2 '--state-dir needs a directory' '--help shows how to write it'
        state_dir=$2
        shift
        ;;
    -h | --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
    *) fail 2 "\`$1\` is not an option" '--help shows which there are' ;;
    esac
    shift
done

check
if [ "$dry_run" = no ]; then
    [ "$yes" = yes ] || ask
    if [ -d "$state_dir" ]; then
        exec 9>>"$state_dir/lock" || fail 1 "cannot open \`$state_dir/lock\`" 'is the directory writable?'
        flock -w 60 9 || fail 7 'vpcctl is at work, or a tool that it started' 'wait for it, or end it'
    fi
fi
name_strangers
came_along=$(leftovers)
# The links first: those of a namespace that is gone vanish some time after.
clean_links
clean_namespaces
clean_resolvers
clean_routes
clean_forwarding
clean_chains
[ "$dry_run" = yes ] || clean_leftovers "$came_along"
# What can't be removed is still known to the state file.
[ "$left" -gt 0 ] || clean_files

if [ "$dry_run" = yes ]; then
    [ "$removed" -gt 0 ] || echo 'nothing of vpcctl is here'
    exit 0
fi
if [ -d "$state_dir" ]; then
    printf '%s scripts/cleanup.sh removed=%d left=%d\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)" "$removed" "$left" \
        >>"$state_dir/vpcctl.log"
fi
if [ "$left" -gt 0 ]; then
    fail 1 "left in place: $left" 'mend what is named above, and run it again'
fi
if [ "$removed" -eq 0 ]; then
    echo 'nothing of vpcctl is here'
else
    echo 'all that vpcctl made is gone; its log stays'
fi
