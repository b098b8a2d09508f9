//! Turns sections into a [`Definition`], whatever form they were written in: checks that nothing is
//! missing, that nothing is there twice, and that the keys make sense together.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::definition::Definition;
use super::document::{Document, Header, Section};
use super::idle;
use super::keys::{Key, Scope};
use super::layers::{Judge, Layer, Layers, Step, read_own, read_scheme, seen_from};
use super::lines::{At, Lines};
use super::mandatory::mandatory_text;
use super::members::Members;
use super::options::Options;
use super::settings::{DeliverSettings, SetSettings};
use super::tls_files::TlsFiles;
use super::value::{Kind, opening, parse_bool, shown};
use super::warnings::{About, Warnings};
use super::{declared::KeyType, secret};
use crate::base::error::{Error, Position, Result};
use crate::base::text::{brief, has_login};

/// Checks a whole document.
pub(super) fn define(document: Document, options: &Options) -> Result<Definition> {
    let mut warnings = document.warnings;
    let (sections, mut lines, secrets) = (document.sections, document.lines, document.secrets);
    let of_options = lines.append_options(options.lines(), options.position())?;
    lines.finish();
    let (upstream, nodes) = split(sections, &lines, &document.start)?;

    let mut judge = Judge::new(&lines.spellings, options.declared());
    let mut read = |own: &Range<u32>, kind| read(&lines, own, kind, &mut judge, &mut warnings);
    let options_layer = read(&of_options, Scope::Options)?;
    let upstream_layer = read(&upstream.lines, Scope::Upstream)?;
    let defaults = Layer::defaults();
    let of_set = [&upstream_layer, &options_layer, &defaults];
    let set = Layers(&of_set);
    let name = mandatory_text(&lines, &judge, &upstream_layer, &upstream, Key::Name)?;
    if let Some(wanted) = set.text(Key::UpstreamName).filter(|wanted| *wanted != name) {
        return Err(Error::config(
            &lines.position(upstream.at),
            format!(
                "the upstream is named {}, but the option upstream.name wants {}; change one of \
                 them",
                shown(name),
                shown(wanted)
            ),
        ));
    }

    warn_of_open_files(&lines, &secrets, options, &mut warnings);
    let inherited = [&upstream.lines, &of_options];
    let tls_files = TlsFiles::new(options.config_dir());
    let mut members = Members::new(&lines, judge, inherited, of_set, tls_files, nodes.len());
    for section in &nodes {
        members.add(section, &mut warnings)?;
    }
    let (nodes, index, properties) = members.finish();
    idle::warn_of_set(
        &lines,
        &upstream.lines,
        nodes.iter().map(|node| &node.settings),
        &mut warnings,
    );
    if nodes.iter().all(|node| node.settings.weight == 0) {
        warnings.add(
            About::Value,
            &lines.position(upstream.at),
            "every node has weight 0, so none gets a payload; give at least one a weight from 1 to \
             1000",
        );
    }
    Ok(Definition {
        name: name.to_owned(),
        nodes,
        settings: set_settings(set),
        warnings: warnings.finish(),
        properties: Arc::new(properties),
        index,
        lines,
    })
}

/// The only `[UPSTREAM]`, and the nodes.
fn split(
    mut sections: Vec<Section>,
    lines: &Lines,
    start: &Position,
) -> Result<(Section, Vec<Section>)> {
    for (section, range) in lines.by_section() {
        if let Some(section) = sections.get_mut(section as usize) {
            section.lines = range;
        }
    }
    let is_upstream = |section: &Section| section.header == Header::Upstream;
    let Some(at) = sections.iter().position(is_upstream) else {
        let position = sections.first().map_or(start.clone(), |node| lines.position(node.at));
        return Err(Error::config(
            &position,
            "there is no [UPSTREAM] section; add one with a name",
        ));
    };
    let upstream = sections.remove(at);
    if let Some(second) = sections.iter().find(|section| is_upstream(section)) {
        let second = lines.position(second.at);
        let first = seen_from(&lines.position(upstream.at), &second);
        return Err(Error::config(
            &second,
            format!(
                "this is a second [UPSTREAM], the first one is on {first}; a file may have only \
                 one, so make two files"
            ),
        ));
    }
    if sections.is_empty() {
        return Err(Error::config(
            &lines.position(upstream.at),
            "there is no [NODE] section; add one with name, host and port",
        ));
    }
    Ok((upstream, sections))
}

/// Warns of each file that holds a secret and that every user of the machine may read.
fn warn_of_open_files(
    lines: &Lines,
    set: &[(At, String)],
    options: &Options,
    warnings: &mut Warnings,
) {
    if !lines.is_any_open() {
        return;
    }
    let mut told = HashSet::new();
    let mut warn = |at: At, key: &str| {
        if lines.is_open(at.file) && told.insert(at.file) {
            let position = lines.position(at);
            let text = format!(
                "every user of this machine may read this file, which holds a secret ({key}); run: \
                 chmod o-r {}",
                brief(&position.file)
            );
            warnings.add(About::Secret, &position, &text);
        }
    };
    for (at, name) in set {
        warn(*at, &shown(name));
    }
    let mut kinds: Vec<Option<bool>> = vec![None; lines.spellings.count_of_names()];
    for line in lines.all().map(|line| lines.line(line)) {
        let number = line.key_number();
        let known = &mut kinds[number as usize];
        let is_secret = *known.get_or_insert_with(|| {
            let name = lines.spellings.name(number);
            match (name.entry, options.declared().get(&name.text)) {
                (Some(entry), _) => matches!(entry.kind, Kind::Secret),
                (None, Some(kind)) => kind == KeyType::Secret,
                (None, None) => secret::is_secret(&name.text),
            }
        });
        // `password_auth on` is a switch.
        let is_secret = is_secret && parse_bool(line.value()).is_none();
        if !line.origin().is_elsewhere && (is_secret || has_login(line.value())) {
            warn(line.at(), opening(line.key()));
        }
    }
}

/// Checks the lines of a section of this kind.
fn read<'a>(
    lines: &'a Lines,
    own: &Range<u32>,
    kind: Scope,
    judge: &mut Judge<'_>,
    warnings: &mut Warnings,
) -> Result<Layer<'a>> {
    let mut layer = Layer::new();
    judge.begin();
    for line in own.clone().map(|line| lines.line(line)) {
        match judge.next(lines, line, kind)? {
            None => {}
            Some(Step::Known(entry)) => layer.read(entry, line, warnings)?,
            Some(Step::Own(kind)) => read_own(kind, line)?,
            Some(Step::Scheme) => read_scheme(line)?,
            Some(Step::Suspect) => judge.warn(lines, line, warnings),
        }
    }
    Ok(layer)
}

fn set_settings(set: Layers<'_, '_>) -> SetSettings {
    SetSettings {
        balance: set.word(Key::Balance),
        start: set.word(Key::Start),
        deliver: DeliverSettings {
            timeout: set.duration(Key::DeliverTimeout),
            attempts: set.integer(Key::DeliverAttempts),
            resend: set.bool(Key::DeliverResend),
            wait: set.bool(Key::DeliverWait),
        },
    }
}
