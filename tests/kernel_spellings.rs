//! Every command line that published write-ups show works as typed, and does what the command's own spelling does.

mod support;

use serde_json::Value;
use support::Sandbox;

/// The policy that every write-up shows.
const WEB: &str = r#"{"subnet": "10.0.1.0/24", "ingress": [
  {"port": 80, "protocol": "tcp", "action": "allow"},
  {"port": 22, "protocol": "tcp", "action": "deny"}]}"#;

/// A command: what has to be there, how vpcctl's own documents write it, and the other ways to write it.
struct Row {
    needs: &'static [&'static str],
    canonical: &'static str,
    spellings: &'static [&'static str],
}

const VPC: &str = "create-vpc vpc1 10.0.0.0/16";
const OTHER: &str = "create-vpc vpc2 10.1.0.0/16";
const PUBLIC: &str = "add-subnet vpc1 public 10.0.1.0/24 --type public";
const PEERED: &str = "peer vpc1 vpc2";

const CREATE_VPC: &[Row] = &[
    Row {
        needs: &[],
        canonical: VPC,
        spellings: &["create-vpc --name vpc1 --cidr 10.0.0.0/16", "vpc create --name vpc1 --cidr 10.0.0.0/16"],
    },
    Row {
        needs: &[],
        canonical: "create-vpc vpc1 10.0.0.0/16 --interface eth0",
        spellings: &[
            "create-vpc vpc1 10.0.0.0/16 --wan eth0",
            "create-vpc vpc1 10.0.0.0/16 --internet-interface eth0",
            "create-vpc --name vpc1 --cidr 10.0.0.0/16 --public-interface eth0",
        ],
    },
];

const ADD_SUBNET: &[Row] = &[
    Row {
        needs: &[VPC],
        canonical: PUBLIC,
        spellings: &[
            "add-subnet --vpc vpc1 --name public --cidr 10.0.1.0/24 --type public",
            "add-subnet vpc1 public 10.0.1.0/24 --public",
            "create-subnet --vpc vpc1 --name public --cidr 10.0.1.0/24 --type public",
            "subnet add --vpc vpc1 --name public --cidr 10.0.1.0/24 --type public",
            "subnet create --vpc vpc1 --name public --cidr 10.0.1.0/24 --public",
        ],
    },
    Row {
        needs: &[VPC],
        canonical: "add-subnet vpc1 private 10.0.2.0/24",
        spellings: &[
            "add-subnet --vpc vpc1 --name private --cidr 10.0.2.0/24",
            "add-subnet --vpc vpc1 --name private --cidr 10.0.2.0/24 --type private",
            "create-subnet --vpc vpc1 --name private --cidr 10.0.2.0/24 --type private",
        ],
    },
];

const ENABLE_NAT: &[Row] = &[
    Row {
        needs: &[VPC, "add-subnet vpc1 publicsub 10.0.1.0/24 --public"],
        canonical: "enable-nat vpc1 --subnet publicsub --interface eth0",
        spellings: &["enable-nat --vpc vpc1 --subnet publicsub --wan eth0"],
    },
    Row {
        needs: &[VPC, PUBLIC],
        canonical: "enable-nat vpc1",
        spellings: &[
            "enable-nat --vpc vpc1",
            "enable-nat --vpc vpc1 --interface eth0",
            "nat enable --vpc vpc1 --interface eth0",
            "nat enable --vpc vpc1 --public-interface eth0",
        ],
    },
    Row {
        needs: &[VPC, PUBLIC, "enable-nat vpc1"],
        canonical: "disable-nat vpc1",
        spellings: &["nat disable --vpc vpc1"],
    },
];

const PEER: &[Row] = &[
    Row {
        needs: &[VPC, OTHER],
        canonical: PEERED,
        spellings: &[
            "peer --vpc1 vpc1 --vpc2 vpc2",
            "peer-vpcs --vpc1 vpc1 --vpc2 vpc2",
            "peer-vpcs --vpc-a vpc1 --vpc-b vpc2",
            "peer-vpcs --a vpc1 --b vpc2",
            "peer-vpcs vpc1 vpc2",
            "peer create --vpc1 vpc1 --vpc2 vpc2",
            "peer-vpcs --bridge-a br-vpc1 --bridge-b br-vpc2",
            "peer create --bridge-a br-vpc2 --bridge-b br-vpc1",
        ],
    },
    Row {
        needs: &[VPC, OTHER, PEERED],
        canonical: "unpeer vpc1 vpc2",
        spellings: &["peer delete --vpc1 vpc1 --vpc2 vpc2", "unpeer-vpcs --bridge-a br-vpc1 --bridge-b br-vpc2"],
    },
    Row {
        needs: &[VPC, OTHER, PEERED],
        canonical: "allow-cidr vpc1 vpc2 --src 10.0.1.0/24 --dst 10.1.1.0/24",
        spellings: &["allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24"],
    },
];

const POLICY: &[Row] = &[
    Row {
        needs: &[VPC, PUBLIC],
        canonical: "apply-policy vpc1/public $T/web.json",
        spellings: &[
            "apply-policy --vpc vpc1 --subnet public --policy $T/web.json",
            "apply-policy --vpc vpc1 --subnet public --file $T/web.json",
            "apply-policy --vpc vpc1 --subnet public --policy-file $T/web.json",
            "apply-policy vpc1 $T/web.json",
            "apply-firewall vpc1 public $T/web.json",
            "firewall apply --vpc vpc1 --subnet public --policy $T/web.json",
        ],
    },
    Row {
        needs: &[VPC, PUBLIC, "apply-policy vpc1/public $T/web.json"],
        canonical: "remove-policy vpc1/public",
        spellings: &["firewall remove --vpc vpc1 --subnet public", "remove-firewall vpc1 public"],
    },
];

const SEE: &[Row] = &[
    Row { needs: &[VPC, PUBLIC, OTHER], canonical: "list", spellings: &["list-vpcs", "vpc list"] },
    Row { needs: &[VPC, PUBLIC, OTHER], canonical: "inspect", spellings: &["vpc inspect"] },
    Row {
        needs: &[VPC, PUBLIC, OTHER],
        canonical: "inspect vpc1",
        spellings: &["vpc inspect vpc1", "vpc inspect --name vpc1", "inspect --vpc vpc1"],
    },
];

const DELETE_VPC: &[Row] = &[
    Row {
        needs: &[VPC, PUBLIC],
        canonical: "delete-vpc vpc1",
        spellings: &[
            "delete-vpc --name vpc1",
            "vpc delete --name vpc1",
            "teardown-vpc --name vpc1",
            "teardown-vpc vpc1",
        ],
    },
    Row {
        needs: &[VPC, PUBLIC],
        canonical: "delete-subnet vpc1/public",
        spellings: &["subnet delete --vpc vpc1 --name public", "subnet delete vpc1 public"],
    },
];

const APPS_AND_THE_REST: &[Row] = &[
    Row {
        needs: &[VPC, PUBLIC],
        canonical: "deploy-app vpc1/public --port 8080",
        spellings: &[
            "deploy-app --vpc vpc1 --subnet public --port 8080",
            "deploy-http --vpc vpc1 --subnet public --port 8080",
            "deploy webserver --vpc vpc1 --subnet public --port 8080",
            "app deploy --vpc vpc1 --subnet public --port 8080",
        ],
    },
    Row {
        needs: &[VPC, PUBLIC, "add-subnet vpc1 private 10.0.2.0/24"],
        canonical: "test-connectivity --vpc vpc1 --from-subnet public --to-subnet private",
        spellings: &[],
    },
    Row { needs: &[VPC, PUBLIC, OTHER], canonical: "cleanup-all --yes", spellings: &[] },
];

#[test]
fn create_vpc() {
    play(CREATE_VPC);
}

#[test]
fn add_subnet() {
    play(ADD_SUBNET);
}

#[test]
fn enable_and_disable_nat() {
    play(ENABLE_NAT);
}

#[test]
fn peer_and_unpeer() {
    play(PEER);
}

#[test]
fn apply_and_remove_policies() {
    play(POLICY);
}

#[test]
fn list_and_inspect() {
    play(SEE);
}

#[test]
fn delete() {
    play(DELETE_VPC);
}

#[test]
fn apps_tests_and_cleaning_up() {
    play(APPS_AND_THE_REST);
}

/// Runs each line of the rows in a sandbox of its own; each spelling has to come to what the command's own comes to.
fn play(rows: &[Row]) {
    for Row { needs, canonical, spellings } in rows {
        let expected = played(needs, canonical);
        for spelling in *spellings {
            let (state, stdout) = played(needs, spelling);
            assert_eq!(state, expected.0, "`{spelling}` leads to another state than `{canonical}`");
            assert_eq!(stdout, expected.1, "`{spelling}` prints something else than `{canonical}`");
        }
    }
}

/// The state and the output that a line leads to, in a kernel that has what the state says.
fn played(needs: &[&str], line: &str) -> (Value, String) {
    let mut sandbox = Sandbox::new();
    sandbox.file("web.json", WEB);
    for need in needs {
        sandbox.ok(&format!("vpcctl {need}"));
    }
    let stdout = sandbox.ok(&format!("vpcctl {line}"));
    let kernel = sandbox.ok("vpcctl inspect");
    assert!(!kernel.contains("wrong"), "`{line}`: {kernel}");
    // A policy is kept with its file's name, which is another one in each sandbox.
    let state = sandbox.state().replace(&sandbox.dir().display().to_string(), "$T");
    let document: Value = serde_json::from_str(&state).expect("the state is JSON");
    (document["network"].clone(), stdout)
}

#[test]
fn a_long_vpc_is_peered_by_its_bridge() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc a-vpc-with-a-long-name 10.0.0.0/16");
    sandbox.ok("vpcctl create-vpc b 10.1.0.0/16");
    let bridge = sandbox.ok("vpcctl inspect a-vpc-with-a-long-name -o json | grep -o 'br-[^\"]*'");
    let bridge = bridge.trim();
    assert!(bridge.len() <= 15, "{bridge}");
    sandbox.ok(&format!("vpcctl peer-vpcs --bridge-a {bridge} --bridge-b br-b"));
    sandbox.says("vpcctl peer a-vpc-with-a-long-name b", &["nothing changed"]);
    sandbox.fails(3, "vpcctl peer --bridge-a br-c --bridge-b br-b", &["no VPC has the bridge `br-c`", bridge]);
    sandbox.fails(2, "vpcctl peer --bridge-a br-b --vpc1 b --vpc2 b", &["--bridge-a", "--vpc1"]);
}

#[test]
fn what_is_always_so_is_checked_and_said() {
    let mut sandbox = Sandbox::new();
    sandbox.fails(3, "vpcctl allow-intra-vpc vpc1", &["`vpc1`"]);
    for line in [VPC, OTHER, PUBLIC] {
        sandbox.ok(&format!("vpcctl {line}"));
    }
    let before = sandbox.state();
    sandbox.says("vpcctl allow-intra-vpc vpc1", &["always reach each other", "nothing to do"]);
    let isolate = "vpcctl isolate-vpcs --cidr-a 10.0.0.0/16 --cidr-b 10.1.0.0/16";
    sandbox.says(isolate, &["are isolated", "nothing to do"]);
    sandbox.fails(3, "vpcctl isolate-vpcs --cidr-a 10.0.0.0/16 --cidr-b 10.9.0.0/16", &["10.9.0.0/16 is in no VPC"]);
    sandbox.fails(2, "vpcctl isolate-vpcs --cidr-a 10.0.1.0/24 --cidr-b 10.0.0.0/16", &["are both of `vpc1`"]);
    assert_eq!(sandbox.state(), before);
    sandbox.ok("vpcctl peer vpc1 vpc2");
    sandbox.fails(4, isolate, &["not isolated", "`vpcctl unpeer vpc1 vpc2`"]);
    sandbox.ok("vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24");
    sandbox.fails(4, "vpcctl isolate-vpcs --cidr-a 10.1.0.0/16 --cidr-b 10.0.1.0/24", &["not isolated"]);
    sandbox.says("vpcctl isolate-vpcs --cidr-a 10.0.2.0/24 --cidr-b 10.1.0.0/16", &["are isolated"]);
}

#[test]
fn nothing_of_a_vpc_is_left_after_its_teardown() {
    let mut sandbox = Sandbox::new();
    sandbox.fails(3, "vpcctl teardown-vpc vpc1", &["`vpc1`"]);
    sandbox.ok("vpcctl teardown-vpc --name vpc1 || true");
    // The first namespace makes a mount that stays.
    sandbox.add_vpc1();
    sandbox.ok("vpcctl teardown-vpc vpc1");
    let before = sandbox.dump();
    sandbox.add_vpc1();
    sandbox.serve("vpc1-public", &[80]);
    sandbox.ok("vpcctl teardown-vpc --name vpc1");
    before.assert_same(&sandbox.dump(), "after the teardown");
    sandbox.ok("test -z \"$(ip netns list | grep vpc1)\"");
}

#[test]
fn changes_are_reported_as_json_and_yaml() {
    let mut sandbox = Sandbox::new();
    let mut report = |line: &str| -> (Value, String) {
        let output = sandbox.expect(0, line);
        (serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report())), output.stderr)
    };
    let change = |changed: bool, mended: u64, message: &str| serde_json::json!({"version": 1, "changed": changed, "mended": mended, "message": message});
    let (made, talk) = report("vpcctl -o json create-vpc vpc1 10.0.0.0/16");
    assert_eq!((made, talk), (change(true, 0, "created VPC vpc1 10.0.0.0/16"), String::new()));
    let (again, _) = report("vpcctl -q create-vpc vpc1 10.0.0.0/16 -o json");
    assert_eq!(again, change(false, 0, "VPC vpc1 10.0.0.0/16 exists: nothing changed"));
    let (mended, _) =
        report("ip -n vpc1 addr flush dev lo; ip -n vpc1 link del br-vpc1; vpcctl -o json create-vpc vpc1 10.0.0.0/16");
    assert_eq!(mended["changed"], false);
    assert!(mended["mended"].as_u64() > Some(0), "{mended}");
    let (gone, _) = report("vpcctl -o json delete-vpc vpc9 --if-exists");
    assert_eq!(gone, change(false, 0, "VPC `vpc9` does not exist: nothing to do"));
    let (_, note) = report("vpcctl -o json create-vpc lan 198.51.100.0/24");
    assert!(note.lines().count() == 2 && note.starts_with(r#"{"version":1,"note":"198.51.100.0/24 is not"#), "{note}");
    let yaml = sandbox.ok("vpcctl -o yaml delete-vpc vpc1");
    assert_eq!(yaml, "version: 1\nchanged: true\nmended: 0\nmessage: deleted VPC vpc1\n");
}

#[test]
fn without_privilege_the_error_names_the_two_ways_out() {
    let mut sandbox = Sandbox::new();
    let error =
        sandbox.expect(5, "setpriv --bounding-set=-all --inh-caps=-all vpcctl create-vpc vpc1 10.0.0.0/16").stderr;
    assert_eq!(error.lines().count(), 2, "{error}");
    for words in ["changing the network needs root", "sudo", "vpcctl sandbox"] {
        assert!(error.contains(words), "{words} in {error}");
    }
}
