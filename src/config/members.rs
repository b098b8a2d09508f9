//! Turns `[NODE]` sections into [`NodeDefinition`]s. Most sections repeat each other: sections with
//! the same keys share one plan, and sections with the same values too share their settings.

use std::collections::HashMap;
use std::ops::Range;

use super::definition::NodeDefinition;
use super::document::Section;
use super::host::{UNIX, with_port};
use super::idle;
use super::keys::{Key, Scope};
use super::layers::{Judge, Layer, Layers, Step, read_own, read_scheme, seen_from};
use super::limits::MAX_INHERITED;
use super::lines::{Given, Line, Lines};
use super::mandatory::{mandatory, mandatory_text};
use super::name_index::NameIndex;
use super::node_settings::node_settings;
use super::properties::{Owner, Properties, Shape};
use super::settings::{NodeSettings, TlsSettings};
use super::tls_files::TlsFiles;
use super::value::{Value, shown};
use super::warnings::{About, Warnings};
use crate::base::error::{Error, Result};
use crate::base::text::Text;

/// The nodes so far.
pub(super) struct Members<'a> {
    lines: &'a Lines,
    judge: Judge<'a>,
    /// What is asked after the node's own section: `[UPSTREAM]`, options, defaults.
    of_set: [&'a Layer<'a>; 3],
    tls_files: TlsFiles,
    /// What nodes inherit: lines, and the numbers of their keys.
    inherited: Vec<(u32, u32)>,
    /// How many keys the plans may still inherit.
    inherited_left: usize,
    plans: Vec<Plan>,
    shapes: Vec<Shape>,
    /// The number of the plan for sections with these keys.
    by_keys: HashMap<Box<[u32]>, usize>,
    /// The plan used last.
    last_plan: usize,
    layer: Layer<'a>,
    /// The settings of nodes that set nothing themselves. Read once, when the first such node
    /// comes.
    shared: Option<NodeSettings>,
    index: NameIndex,
    nodes: Vec<NodeDefinition>,
}

/// What to do with a section that has certain keys.
struct Plan {
    keys: Box<[u32]>,
    /// What to do with each line, by the line's number in its section.
    steps: Vec<(u32, Step)>,
    /// The lines that affect the settings, without weight and priority.
    bearing: Vec<u32>,
    /// Whether some line may have no effect.
    may_be_idle: bool,
    /// The settings of the last such node, and its first line. `None` if they gave a warning.
    last: Option<(NodeSettings, u32)>,
}

/// What nodes inherit from `[UPSTREAM]` and the options: lines, and the numbers of their keys.
fn inherited(lines: &Lines, sources: [&Range<u32>; 2]) -> Vec<(u32, u32)> {
    let mut seen = vec![false; lines.spellings.count_of_names()];
    let mut found = Vec::new();
    for line in sources.into_iter().cloned().flatten() {
        let name = lines.line(line).key_number();
        // A node always has a name of its own.
        let is_name = lines.spellings.name(name).entry.is_some_and(|entry| entry.key == Key::Name);
        if !is_name && !std::mem::replace(&mut seen[name as usize], true) {
            found.push((line, name));
        }
    }
    found
}

impl<'a> Members<'a> {
    /// No node yet; `count` nodes will come.
    pub fn new(
        lines: &'a Lines,
        judge: Judge<'a>,
        sources: [&Range<u32>; 2],
        of_set: [&'a Layer<'a>; 3],
        tls_files: TlsFiles,
        count: usize,
    ) -> Members<'a> {
        Members {
            lines,
            judge,
            of_set,
            tls_files,
            inherited: inherited(lines, sources),
            inherited_left: MAX_INHERITED,
            plans: Vec::new(),
            shapes: Vec::new(),
            by_keys: HashMap::new(),
            last_plan: 0,
            layer: Layer::new(),
            shared: None,
            index: NameIndex::for_names(count),
            nodes: Vec::with_capacity(count),
        }
    }

    /// The nodes, their names, and their properties.
    pub fn finish(self) -> (Vec<NodeDefinition>, NameIndex, Properties) {
        (self.nodes, self.index, Properties::new(self.lines, self.shapes))
    }

    /// Checks the next section.
    pub fn add(&mut self, section: &Section, warnings: &mut Warnings) -> Result<()> {
        let own = &section.lines;
        self.layer.clear();
        let (plan, same) = match self.known_plan(self.lines.of(own)) {
            Some(plan) => (plan, self.follow(plan, own.start, warnings)?),
            None => (self.make_plan(section, warnings)?, false),
        };
        self.last_plan = plan;

        let name = mandatory_text(self.lines, &self.judge, &self.layer, section, Key::Name)?;
        let host = mandatory_text(self.lines, &self.judge, &self.layer, section, Key::Host)?;
        let is_local = host.starts_with(UNIX);
        let port = if is_local { 0 } else { self.port(section)? };
        self.warn_of_port(host, port, warnings);
        let number = self.nodes.len();
        if let Some(first) = self.index.insert(name, number, |at| &self.nodes[at].name) {
            return Err(self.second_of_name(name, first));
        }
        let settings = self.settings(plan, own.start, same, warnings)?;
        if is_local {
            self.check_vhost(host, &settings)?;
            idle::warn_of_local(self.lines, own, warnings);
        }
        if self.plans[plan].may_be_idle {
            idle::warn_of_node(self.lines, own, &settings, warnings);
        }
        self.nodes.push(NodeDefinition {
            name: self.text(Key::Name, name),
            host: self.text(Key::Host, host),
            port,
            settings,
            owner: Owner { shape: self.last_plan as u32, first: own.start },
            at: section.at,
        });
        Ok(())
    }

    fn port(&self, section: &Section) -> Result<u16> {
        match mandatory(self.lines, &self.judge, &self.layer, section, Key::Port)?.value {
            Value::Integer(port) => Ok(u16::try_from(port).unwrap_or_default()),
            ref other => unreachable!("port is {other:?}"),
        }
    }

    /// A path is not a name that a certificate could be for.
    fn check_vhost(&self, host: &str, settings: &NodeSettings) -> Result<()> {
        let is_nameless = |tls: &TlsSettings| tls.checks_name() && tls.vhost.is_none();
        let line = self.layer.get(Key::Host).and_then(|setting| setting.line);
        match (&settings.tls, line) {
            (Some(tls), Some(line)) if is_nameless(tls) => Err(Error::config(
                &line.value_position(),
                format!(
                    "host {} has no name to check in the server's certificate; set tls.vhost to \
                     the name there, or tls.verify_hostname off",
                    shown(host)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The plan for sections with the keys of these lines, if there is one.
    fn known_plan(&self, own: &[Line]) -> Option<usize> {
        let keys = own.iter().map(|line| line.key);
        if self
            .plans
            .get(self.last_plan)
            .is_some_and(|plan| keys.clone().eq(plan.keys.iter().copied()))
        {
            return Some(self.last_plan);
        }
        self.by_keys.get(&*keys.collect::<Vec<u32>>()).copied()
    }

    /// Reads the lines of a section by its plan. Returns true if the lines that affect the settings
    /// have the same values as in the last such section; it did not read those.
    fn follow(&mut self, plan: usize, first: u32, warnings: &mut Warnings) -> Result<bool> {
        let (plan, lines) = (&self.plans[plan], self.lines);
        let value = |line: u32| lines.line(line).value();
        let same = plan.last.as_ref().is_some_and(|(_, last)| {
            plan.bearing.iter().all(|line| value(first + line) == value(last + line))
        });
        for (line, step) in &plan.steps {
            let line = lines.line(first + line);
            match step {
                Step::Known(entry) if same && affects_shared(entry.key) => {}
                Step::Known(entry) => self.layer.read(entry, line, warnings)?,
                Step::Own(kind) => read_own(*kind, line)?,
                Step::Scheme => read_scheme(line)?,
                Step::Suspect => self.judge.warn(lines, line, warnings),
            }
        }
        Ok(same)
    }

    /// Makes a plan and reads the lines at the same time, so that the first error is the one
    /// reported.
    fn make_plan(&mut self, section: &Section, warnings: &mut Warnings) -> Result<usize> {
        let (lines, own) = (self.lines, &section.lines);
        let (mut steps, mut bearing, mut may_be_idle) = (Vec::new(), Vec::new(), false);
        self.judge.begin();
        for (at, line) in own.clone().map(|line| lines.line(line)).enumerate() {
            let step = self.judge.next(lines, line, Scope::Node)?;
            match step {
                None => continue,
                Some(Step::Own(kind)) => read_own(kind, line)?,
                Some(Step::Scheme) => read_scheme(line)?,
                Some(Step::Suspect) => self.judge.warn(lines, line, warnings),
                Some(Step::Known(entry)) => {
                    self.layer.read(entry, line, warnings)?;
                    may_be_idle |= idle::may_be_idle(entry.name);
                    if affects_shared(entry.key) {
                        bearing.push(at as u32);
                    }
                }
            }
            steps.extend(step.map(|step| (at as u32, step)));
        }
        let is_open = |(_, name): &&(u32, u32)| !self.judge.has_seen(*name);
        let inherited: Vec<u32> =
            self.inherited.iter().filter(is_open).map(|(line, _)| *line).collect();
        let Some(left) = self.inherited_left.checked_sub(inherited.len()) else {
            return Err(Error::config(
                &lines.position(section.at),
                format!(
                    "nodes with different keys inherit more than {MAX_INHERITED} keys together; \
                     give fewer keys in [UPSTREAM], or the same keys in the same order in each \
                     [NODE]"
                ),
            ));
        };
        self.inherited_left = left;
        let keys: Box<[u32]> = lines.of(own).iter().map(|line| line.key).collect();
        self.shapes.push(Shape::new(lines, &keys, inherited));
        self.by_keys.insert(keys.clone(), self.plans.len());
        self.plans.push(Plan { keys, steps, bearing, may_be_idle, last: None });
        Ok(self.plans.len() - 1)
    }

    fn settings(
        &mut self,
        plan: usize,
        first: u32,
        same: bool,
        warnings: &mut Warnings,
    ) -> Result<NodeSettings> {
        let plan = &mut self.plans[plan];
        let [upstream, options, defaults] = self.of_set;
        let layers = [&self.layer, upstream, options, defaults];
        let layers = Layers(&layers);
        let known = match &plan.last {
            Some((last, _)) if same => Some(last),
            _ if plan.bearing.is_empty() => self.shared.as_ref(),
            _ => None,
        };
        if let Some(known) = known {
            let (weight, priority) = (layers.integer(Key::Weight), layers.integer(Key::Priority));
            return Ok(NodeSettings { weight, priority, ..known.clone() });
        }
        let before = warnings.tries();
        let settings = node_settings(layers, &mut self.tls_files, warnings)?;
        if plan.bearing.is_empty() {
            self.shared = Some(settings.clone());
        } else {
            plan.last = (warnings.tries() == before).then(|| (settings.clone(), first));
        }
        Ok(settings)
    }

    /// Warns of an IPv6 address that seems to end in the port.
    fn warn_of_port(&self, host: &str, port: u16, warnings: &mut Warnings) {
        let Some(address) = with_port(host, port) else { return };
        let line = self.layer.get(Key::Host).and_then(|setting| setting.line);
        if let Some(line) = line.filter(|line| !line.value().starts_with('[')) {
            let text = format!(
                "host {host} ends in the port {port}, but is an address as a whole; write \
                 {address} if that is the address, or [{host}]"
            );
            warnings.add(About::Value, &line.value_position(), &text);
        }
    }

    /// `text`, which is the current node's value of `key`, without a copy if possible.
    fn text(&self, key: Key, text: &str) -> Text {
        let start = self.layer.get(key).and_then(|setting| setting.line).map_or(0, Given::start);
        Text::of(self.lines.values(), start, text)
    }

    fn second_of_name(&self, name: &str, first: usize) -> Error {
        let Owner { shape, first } = self.nodes[first].owner;
        let mut of_first = (first..).take(self.plans[shape as usize].keys.len());
        let is_name = |line: &u32| {
            let entry = self.lines.spellings.name(self.lines.line(*line).key_number()).entry;
            entry.is_some_and(|entry| entry.key == Key::Name)
        };
        let first = of_first.find(is_name).map(|line| self.lines.line(line).value_position());
        let position =
            self.layer.get(Key::Name).and_then(|setting| setting.line).map(Given::value_position);
        let (Some(first), Some(position)) = (first, position) else {
            unreachable!("both have names");
        };
        let first = seen_from(&first, &position);
        Error::config(
            &position,
            format!(
                "two nodes have the name {}, the first one on {first}; rename one",
                shown(name)
            ),
        )
    }
}

/// Whether a key affects the settings that nodes can share.
fn affects_shared(key: Key) -> bool {
    !matches!(key, Key::Name | Key::Host | Key::Port | Key::Weight | Key::Priority)
}
