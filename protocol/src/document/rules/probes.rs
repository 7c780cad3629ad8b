//! Rules of health checks.

use super::Found;
use crate::document::{Probe, Probes};

impl Found {
    pub(super) fn probes(&mut self, probes: &Probes) {
        let Probes { startup, readiness, liveness } = probes;
        for (name, probe) in [("startup", startup), ("readiness", readiness), ("liveness", liveness)] {
            if let Some(probe) = probe {
                self.probe(&format!("/probes/{name}"), probe);
            }
        }
    }

    fn probe(&mut self, at: &str, probe: &Probe) {
        let Probe { port, path, headers, grpc, exec, .. } = probe;
        let ways = [("path", path.is_some()), ("grpc", grpc.is_some()), ("exec", exec.is_some())];
        let given: Vec<&str> = ways.into_iter().filter_map(|(way, given)| given.then_some(way)).collect();
        if given.len() > 1 {
            let what = format!("a probe asks in one way, and this one has {}", given.join(" and "));
            self.always(at.to_owned(), what, "keep one of them");
        }
        match (port, exec) {
            (None, None) => {
                self.always(format!("{at}/port"), "a probe without a command asks a port", "name the port");
            }
            (Some(_), Some(_)) => {
                self.always(format!("{at}/port"), "a command is run in the container and asks no port", "leave it out");
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        if headers.is_some() && path.is_none() {
            let what = "headers are sent by a check with a path only";
            self.always(format!("{at}/headers"), what, "give it a path, or leave them out");
        }
        if let Some(exec) = exec {
            if exec.command.is_empty() {
                self.always(format!("{at}/exec/command"), "names no program", "write the program and its arguments");
            }
            self.strings(&format!("{at}/exec/command"), Some(&exec.command));
        }
    }
}
