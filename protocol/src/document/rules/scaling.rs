//! Rules of scaling: a fixed number of pods, or an autoscaler.

use super::Found;
use crate::document::{Resources, Scaling};
use crate::quantity::Quantity;

impl Found {
    pub(super) fn scaling(&mut self, scaling: &Scaling, resources: Option<&Resources>) {
        let Scaling { replicas, min, max, cpu, memory } = scaling;
        let at = |field: &str| format!("/scaling/{field}");
        let Some(max) = max else {
            for (field, given) in [("min", min), ("cpu", cpu), ("memory", memory)] {
                if given.is_some() {
                    self.always(
                        at(field),
                        "belongs to an autoscaler, and only max asks for one",
                        "give max, or leave it out",
                    );
                }
            }
            return;
        };
        if replicas.is_some() {
            let what = "is a fixed number of pods, and max leaves the number to an autoscaler";
            self.always(at("replicas"), what, "keep replicas, or max with what belongs to it");
        }
        if let Some(min) = min.filter(|min| min > max) {
            self.always(at("min"), format!("{min} is above max, {max}"), "lower min, or raise max");
        }
        if cpu.is_none() && memory.is_none() {
            let fix = "give cpu or memory, in percent of what a pod requests: cpu: 70 for instance";
            self.always(at("max"), "an autoscaler has to know by what it scales", fix);
        }
        let requests = [
            ("cpu", cpu, resources.and_then(|resources| resources.cpu_request.as_deref())),
            ("memory", memory, resources.and_then(|resources| resources.memory_request.as_deref())),
        ];
        for (field, target, request) in requests {
            if target.is_some() && request.and_then(Quantity::parse).is_some_and(|it| Some(it) <= Quantity::parse("0"))
            {
                let what = format!("is a part of what a pod requests, and resources.{field}Request is 0");
                self.when_new(at(field), what, "raise that request, or leave it out for the usual one");
            }
        }
    }
}
