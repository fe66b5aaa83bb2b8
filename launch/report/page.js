// Fills the page from the run's data, section by section, and says in #drawn what the charts hold.

const run = JSON.parse(by_id('run').textContent);

function fill_header() {
  document.title = `${run.name} · moetrain run report`;
  by_id('name').textContent = run.name;
  const start = run.start || {};
  by_id('model').textContent = (run.stages.length ? run.stages[run.stages.length - 1] : start).model || '';
  const state = by_id('state');
  state.textContent = run.end ? run.end.reason || 'ended' : 'not ended';
  state.classList.add(run.end ? (run.end.reason === 'done' ? 'done' : 'interrupted') : 'open');
  const facts = [
    ['Steps', grouped(run.summary.steps)],
    ['Tokens', is_number(run.summary.tokens) ? short_number(run.summary.tokens).join(' ') : ''],
    ['Of files', run.sources.map((source) => `${source.name} ${short_number(source.tokens).join(' ')}`).join(', ')],
    ['Ranks × threads', is_number(start.ranks) ? `${start.ranks} × ${is_number(start.threads) ? start.threads : '?'}` : ''],
    ['Started', (start.time || '').replace('T', ' ').replace('Z', ' UTC')],
    ['Build', start.build], ['Recipe', start.recipe_hash], ['Checkpoints', describe_checkpoints()],
  ];
  for (const [name, value] of facts)
    if (value) by_id('facts').append(element('div', {}, element('dt', {}, name), element('dd', {}, value)));
}

function describe_checkpoints() {
  const saved = run.checkpoints;
  if (!saved) return '';
  const parts = [`${saved.count}, last at step ${grouped(saved.last_step)}`];
  if (is_number(saved.last_bytes)) parts.push(`${short_number(saved.last_bytes).join(' ')}B`);
  if (is_number(saved.mean_seconds)) parts.push(`${plain_number(saved.mean_seconds)} s each`);
  return parts.join(', ');
}

function add_card(label, [value, unit], hint, extra = '') {
  const number = element('span', {class: 'value'}, value);
  if (unit) number.append(element('small', {}, unit));
  by_id('key-numbers').append(element('div', {class: `card ${extra}`}, element('span', {class: 'label'}, label), number,
                                      element('span', {class: 'hint'}, hint)));
}

/// What groups of held-out targets are compared by.
const kScores = {
  bits_per_byte: {name: 'Bits per byte', hint: 'Each group of held-out documents; lower is better.', targets: 'Tokens'},
  loss: {name: 'Loss', hint: 'Each group of held-out targets; lower is better.', targets: 'Targets'},
  accuracy: {name: 'Accuracy', hint: 'Each group of held-out documents; 1 is all right.', targets: 'Documents'},
};
const score = () => ({key: run.held_out.score, ...kScores[run.held_out.score]});

function fill_cards() {
  const {summary, held_out} = run;
  if (held_out.last) {
    if (score().key !== 'loss') add_card(score().name, [fixed(held_out.last[score().key], 3), ''], `held out, step ${grouped(held_out.last.step)}`, 'first');
    const nats = score().key !== 'loss', perplexity = Math.exp(held_out.last.loss ?? NaN);
    add_card('Held-out loss', [fixed(held_out.last.loss, 3), nats ? 'nats' : ''], nats && is_number(perplexity) ? `perplexity ${short_number(perplexity).join(' ')}` : '');
  }
  if (is_number(summary.tokens_per_second)) add_card('Tokens per second', short_number(summary.tokens_per_second), 'median, all ranks');
  const {total_parameters: total, active_parameters: active, trained_parameters: trained} = (run.stages.length ? run.stages[run.stages.length - 1] : run.start) || {};
  const frozen = is_number(trained) && trained < total ? `, ${short_number(trained).join(' ')} trained` : '';
  if (is_number(total)) add_card('Parameters', short_number(total), is_number(active) ? `${short_number(active).join(' ')} active per token${frozen}` : '');
  if (is_number(summary.imbalance_max)) add_card('Worst imbalance', [fixed(summary.imbalance_max, 2), '×'], `mean ${fixed(summary.imbalance_mean, 2)} ×, 1 is even`);
  if (is_number(summary.dropped.count)) {
    const share = is_number(summary.dropped.share) ? summary.dropped.share * 100 : NaN;
    add_card('Dropped', is_number(share) ? [String(Number(share.toPrecision(2))), '%'] : short_number(summary.dropped.count),
             summary.dropped.count === 0 ? 'no token lost its expert' : `${grouped(summary.dropped.count)} assignments`);
  }
}

// ---- Sections. ----

const blue = () => series_colour(0);
const kTermHints = {
  load_balance: 'Auxiliary loss that pulls the experts\' loads together.',
  router_z: 'Auxiliary loss that keeps the router\'s logits small.',
};

function add_auxiliary(term, index) {
  const title = `Loss: ${term.name.replaceAll('_', ' ')}`;
  const id = `auxiliary-${index}`;
  by_id('learning').querySelector('.panels').append(element('figure', {class: 'panel', id}, element('figcaption', {}, element('h3', {}, title),
    element('p', {}, kTermHints[term.name] || 'Auxiliary loss, as logged.'))));
  place_lines(id, [{label: term.name, pairs: term.points, colour: () => series_colour(3)}]);
}

function fill_learning() {
  if (score().key === 'loss') by_id('loss').querySelector('p').textContent = 'By step.';
  if (run.losses.training_name === 'classification') by_id('loss').querySelector('p').textContent = 'Nats per document, by step.';
  const {training, training_mean, training_name, auxiliary} = run.losses;
  const smooth = training_mean.length > 0;
  place_lines('loss', [
    {label: `training, ${training_name}`, pairs: training, colour: blue, opacity: smooth ? 0.35 : 0, width: smooth ? 1 : 1.5},
    {label: 'training, running mean', pairs: training_mean, colour: blue, width: 2.2},
    {label: 'held out', pairs: run.held_out.loss, colour: () => series_colour(1), width: 1.6, dots: true},
  ]);
  place_lines('gradient-norm', [{label: 'gradient norm', pairs: run.curves.gradient_norm, colour: blue, width: 1.2}], {zero: true});
  place_lines('learning-rate', [{label: 'learning rate', pairs: run.curves.learning_rate, colour: blue}], {zero: true});
  auxiliary.forEach(add_auxiliary);
}

/// One row for each stage; the lines in the curves are where they begin.
function fill_stages() {
  if (run.stages.length === 0) return hide('stages');
  const head = ['', 'Stage', 'After step', 'Updates', 'Before it', 'Trained', 'Of', 'Optimizer state kept'];
  const rows = run.stages.map((one) => element('tr', {}, element('th', {scope: 'row'}, `${one.number}`),
    ...[one.name, grouped(one.step), grouped(one.updates), one.surgery || '–', short_number(one.trained_parameters).join(' ').trim(),
        short_number(one.total_parameters).join(' ').trim(), one.step > 0 ? `${grouped(one.carried)} weights` : '–'].map((text) => element('td', {}, text))));
  by_id('stage-table').append(element('div', {class: 'scroll'}, element('table', {class: 'scores'},
    element('thead', {}, element('tr', {}, ...head.map((name) => element('th', {scope: 'col'}, name)))), element('tbody', {}, ...rows))));
  drawn.stages = rows;
}

function score_row(group, colour, longest) {
  const name = element('th', {scope: 'row'}, group.name);
  if (colour) name.prepend(element('i', {key: colour}));
  const row = element('tr', {}, name);
  const numbers = [fixed(group[score().key], 3), fixed(group.loss, 3), grouped(group.tokens)];
  row.append(...numbers.map((number) => element('td', {}, number)));
  const bar = element('span', {});
  if (colour) bar.style.setProperty('--key', colour);
  bar.style.width = is_number(group[score().key]) ? `${100 * group[score().key] / longest}%` : '0';
  row.append(element('td', {class: 'bar'}, bar));
  drawn.scores.push(row);
  return row;
}

function group_colour(name) {
  const place = run.held_out.groups.findIndex((group) => group.name === name);
  return series_colour(place >= 0 ? place : run.held_out.last.groups.findIndex((group) => group.name === name));
}

function fill_scores() {
  const {last} = run.held_out;
  if (!last || last.groups.length === 0) return hide('group-scores');
  by_id('scores-from').textContent = `At step ${grouped(last.step)}, from ${run.summary.held_out_from}.`;
  const all = {name: 'All', ...last, tokens: last.groups.reduce((sum, group) => sum + (group.tokens || 0), 0)};
  const longest = Math.max(...last.groups.map((group) => group[score().key] || 0), all[score().key] || 0);
  const head = ['Group', score().name, 'Loss', score().targets].map((name) => element('th', {scope: 'col'}, name));
  const table = element('table', {class: 'scores'}, element('thead', {}, element('tr', {}, ...head, element('th', {class: 'bar', 'aria-hidden': 'true'}))));
  by_id('group-scores').append(element('div', {class: 'scroll'}, table));
  const draw = () => {
    drawn.scores = [];
    for (const part of table.querySelectorAll('tbody, tfoot')) part.remove();
    table.append(element('tbody', {}, ...last.groups.map((group) => score_row(group, group_colour(group.name), longest))),
                 element('tfoot', {}, score_row(all, '', longest)));
  };
  draw();
  redraws.push(draw);
}

function fill_held_out() {
  const {last, groups} = run.held_out;
  if (!last || (last.groups.length === 0 && groups.length === 0)) return hide('held-out');
  by_id('group-curves').querySelector('h3').textContent = `${score().name} over the run`;
  by_id('group-curves').querySelector('p').textContent = score().hint;
  place_lines('group-curves', groups.map((group, index) => ({
    label: group.name, pairs: group.points, colour: () => series_colour(index), dots: group.points.length <= 40,
    dash: index < 8 ? [] : [4, 3]})));
  fill_scores();
}

function fill_translation() {
  if (run.translation.length === 0) return hide('translation');
  const head = ['Direction', 'Sentences', 'BLEU', 'BLEU, lower case', 'chrF2'].map((name) => element('th', {scope: 'col'}, name));
  const rows = run.translation.map((one) => element('tr', {}, element('th', {scope: 'row'}, one.direction),
    ...[grouped(one.sentences), fixed(one.bleu, 2), fixed(one.bleu_lowercase, 2), fixed(one.chrf, 2)].map((number) => element('td', {}, number))));
  by_id('translation-scores').append(element('div', {class: 'scroll'}, element('table', {class: 'scores'},
    element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows))));
  const known = run.translation.filter((one) => is_number(one.bleu));
  const mean = known.reduce((sum, one) => sum + one.bleu, 0) / known.length;
  add_card('BLEU', [fixed(mean, 2), ''], known.length === 1 ? known[0].direction : `mean of ${known.length} directions`);
  drawn.translation = rows;
}

function fill_entropy() {
  const layers = run.layers.filter((one) => has_values(one.entropy));
  const experts = new Set(layers.map((one) => one.load.experts));
  const lines = layers.map((one, index) => ({label: `layer ${one.layer}`, pairs: one.entropy, width: 1.5,
                                             colour: () => layers.length <= 8 ? series_colour(index) : ordered_colour(index, layers.length)}));
  let hint = 'Nats per token, by layer.';
  if (experts.size === 1 && [...experts][0] > 1) hint += ` ${Math.log([...experts][0]).toFixed(2)} would be no preference among ${[...experts][0]} experts.`;
  by_id('entropy-hint').textContent = hint;
  place_lines('entropy', lines);
}

function fill_balance() {
  const layers = run.layers.filter((one) => one.load.experts > 0);
  if (run.layers.length === 0) return hide('balance');
  layers.forEach((one) => place_load_map(by_id('load-maps'), one));
  place_lines('imbalance', [{label: 'imbalance', pairs: run.curves.imbalance, colour: blue, width: 1.3}]);
  const dropped = run.curves.dropped.some(([, count]) => count > 0) ? run.curves.dropped : [];
  place_lines('dropped', [{label: 'dropped', pairs: dropped, colour: () => series_colour(1)}], {zero: true});
  fill_entropy();
}

function fill_specialisation() {
  if (run.routing.length === 0) return hide('specialisation');
  const parent = by_id('routing-maps');
  parent.classList.toggle('broad', run.routing.some((map) => map.experts > 12));
  run.routing.forEach((map) => place_routing_map(parent, map));
}

/// Computing in blues, communication in orange, the rest apart.
function phase_colour(name, index) {
  const known = {data: 6, forward: 5, backward: 0, reduce: 1, optimizer: 3};
  return series_colour(known[name] ?? index);
}

function fill_shares(phases) {
  const whole = phases.reduce((sum, phase) => sum + phase.mean, 0);
  const bar = element('div', {class: 'share', role: 'img', 'aria-label': 'share of each phase'});
  const keys = element('ul', {class: 'keys'});
  by_id('shares').append(bar, keys);
  const draw = () => {
    bar.replaceChildren();
    keys.replaceChildren();
    for (const phase of phases) {
      const part = element('span', {key: phase.colour(), title: `${phase.name}: ${(100 * phase.mean / whole).toFixed(1)} %`});
      part.style.flex = `${phase.mean / whole} 1 0`;
      bar.append(part);
      keys.append(element('li', {}, element('i', {class: 'block', key: phase.colour()}), phase.name,
                          element('b', {}, `${(100 * phase.mean / whole).toFixed(1)} %`), `${plain_number(phase.mean * 1000)} ms`));
    }
  };
  draw();
  redraws.push(draw);
}

function fill_speed() {
  place_lines('tokens-per-second', [{label: 'tokens per second', pairs: run.curves.tokens_per_second, colour: blue, width: 1.3}], {zero: true});
  const {first, last, phases} = run.time;
  const known = phases.filter((phase) => is_number(phase.mean)).map((phase, index) => ({...phase, colour: () => phase_colour(phase.name, index)}));
  if (known.reduce((sum, phase) => sum + phase.mean, 0) > 0) {
    fill_shares(known);
    place_stack('phases', first, last, known.map((phase) => ({
      label: phase.name, colour: phase.colour, values: phase.seconds.map((seconds) => seconds === null ? null : seconds * 1000)})));
  } else {
    hide('phases');
    hide('shares');
  }
  if (by_id('speed').querySelectorAll('.panel:not([hidden])').length === 0) hide('speed');
}

function fill_rest() {
  if (run.recipe === null) hide('recipe');
  else by_id('recipe-text').textContent = run.recipe;
  if (run.notes.length === 0) hide('remarks');
  for (const note of run.notes) by_id('notes').append(element('li', {}, note));
}

// ---- What is drawn, for whoever checks the page: read back from the charts and cells, not from the input. ----

function describe_drawn() {
  const charts = Object.fromEntries(Object.entries(drawn.charts).map(([id, chart]) => [id, {
    type: chart.config.type, labels: chart.data.labels,
    datasets: chart.data.datasets.map(({label, data, pointRadius = []}) => ({
      label, data: data.map((at) => at !== null && typeof at === 'object' ? [at.x, at.y] : at), dots: pointRadius.filter((radius) => radius > 0).length})),
  }]));
  const texts = (cells) => [...cells].map((cell) => cell.textContent);
  return {
    charts, load_maps: drawn.load_maps, timelines: describe_timelines(),
    hidden: Object.fromEntries([...document.querySelectorAll('section')].map((section) => [section.id, section.hidden])),
    exposed: drawn.exposed.map((row) => texts(row.querySelectorAll('th, td'))),
    routing_maps: drawn.routing_maps.map(({layer, group, begin, cells}) => ({layer, group, begin, cells: texts(cells)})),
    stages: (drawn.stages || []).map((row) => texts(row.querySelectorAll('th, td'))),
    translation: (drawn.translation || []).map((row) => texts(row.querySelectorAll('th, td'))),
    scores: drawn.scores.map((row) => texts(row.querySelectorAll('th, td:not(.bar)'))),
    cards: Object.fromEntries([...document.querySelectorAll('.card')].map((card) => texts(card.children)).map(([label, ...rest]) => [label, rest])),
  };
}

function fill_page() {
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  for (const fill of [fill_header, fill_cards, fill_learning, fill_stages, fill_held_out, fill_translation, fill_balance, fill_specialisation, fill_speed, fill_timeline, fill_rest]) fill();
  draw_legends();
  redraws.push(draw_legends);
  const holder = element('script', {type: 'application/json', id: 'drawn'});
  holder.textContent = JSON.stringify(describe_drawn()).replaceAll('<', '\\u003c');
  document.body.append(holder);
}

function redraw_in(scheme) {
  if (scheme) document.documentElement.dataset.scheme = scheme;
  else delete document.documentElement.dataset.scheme;
  for (const redraw of redraws) redraw();
}

fill_page();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => redraw_in(''));
addEventListener('beforeprint', () => redraw_in('light'));
addEventListener('afterprint', () => redraw_in(''));
