//! The kernel's modules: which are there, and which would have to be loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What is known of the kernel's modules. In a container there may be no list of them.
#[derive(Debug, Default)]
pub struct Modules {
    present: BTreeSet<String>,
    loadable: BTreeSet<String>,
}

impl Modules {
    /// Reads the lists of the running kernel.
    pub fn read(release: &str) -> Modules {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let lists = Path::new("/lib/modules").join(release);
        let of_sysfs = fs::read_dir("/sys/module").into_iter().flatten().flatten();
        let mut present: BTreeSet<String> = of_sysfs.map(|entry| entry.file_name().to_string_lossy().into()).collect();
        let loaded = text(Path::new("/proc/modules"));
        present.extend(loaded.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned));
        present.extend(text(&lists.join("modules.builtin")).lines().filter_map(name));
        Modules { present, loadable: text(&lists.join("modules.dep")).lines().filter_map(name).collect() }
    }

    /// Would its first use load it?
    pub fn is_unloaded(&self, module: &str) -> bool {
        self.loadable.contains(module) && !self.present.contains(module)
    }
}

/// `kernel/net/bridge/br-netfilter.ko.xz: …` is `br_netfilter`.
fn name(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let file = path.rsplit('/').next()?;
    Some(file.split_once(".ko")?.0.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_by_its_file() {
        let line = "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz";
        assert_eq!(name(line).as_deref(), Some("br_netfilter"));
        assert_eq!(name("kernel/drivers/net/veth.ko").as_deref(), Some("veth"));
        assert_eq!(name(""), None);
    }

    #[test]
    fn only_what_is_listed_and_not_there_would_be_loaded() {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let modules = Modules { present: set(&["veth", "bridge"]), loadable: set(&["veth", "xt_set"]) };
        assert!(modules.is_unloaded("xt_set"));
        assert!(!modules.is_unloaded("veth"), "loaded");
        assert!(!modules.is_unloaded("bridge"), "built in");
        assert!(!modules.is_unloaded("xt_mark"), "unknown: it may be built in");
    }
}
