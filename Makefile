# `make demo` shows what vpcctl does, `make test` checks it. Both install the tools that are missing; neither
# changes the network of the machine that it runs on.

# Where rustup puts cargo, and where the tools are that an unprivileged user's PATH often lacks.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help demo test bench build lint fuzz install uninstall deb tools

# Where `make install` puts things: below DESTDIR + PREFIX.
PREFIX ?= /usr/local
export PREFIX DESTDIR
# Where `make bench` writes its results, what of it runs, and whether quickly.
export JSON ONLY QUICK

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## build vpcctl and watch a small cloud at work, in a sandbox
	@echo 'building vpcctl: the first time takes some minutes'
	@scripts/namespaces.sh cargo run --release --quiet -- sandbox -- scripts/demo.sh

test: tools ## run all tests, those on the real kernel in sandboxes
	@echo 'building the tests: the first time takes some minutes'
	@scripts/namespaces.sh scripts/test.sh

bench: tools ## measure vpcctl beside the least that the kernel asks for [JSON=FILE] [ONLY=wire] [QUICK=1]
	@echo 'building the benchmarks: the first time takes some minutes'
	@scripts/namespaces.sh scripts/bench.sh

build: ## build vpcctl into target/release
	@cargo build --release --quiet

lint: ## check the formatting, clippy and the shell scripts
	@scripts/lint.sh

fuzz: ## try random input for a minute a target; needs a nightly compiler
	@scripts/fuzz.sh

install: ## install vpcctl, its man pages and completions below PREFIX [/usr/local]
	@scripts/install.sh

uninstall: ## remove what `make install` put below PREFIX
	@scripts/uninstall.sh

deb: ## build a Debian package in target/debian
	@scripts/deb.sh

tools:
	@scripts/tools.sh
