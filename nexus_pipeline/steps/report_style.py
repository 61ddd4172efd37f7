"""The style sheet of the evaluation report: no fonts, scripts or pictures from elsewhere."""

STYLE = """
:root { --ink: #18212b; --soft: #4d5a67; --line: #e3e8ee; --paper: #ffffff; --ground: #f4f6f9;
  --model: #2557d6; --best: #a8500a; --other: #8592a0; --good: #137a4b; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 20px 56px; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -0.015em; }
h2 { font-size: 17px; margin: 0 0 4px; letter-spacing: -0.005em; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 22px; margin-top: 18px; min-width: 0; }
.why { color: var(--soft); margin: 0 0 14px; font-size: 14px; max-width: 78ch; }
.verdict { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 8px 28px;
  align-items: center; border-left: 5px solid var(--soft); }
.verdict.better { border-left-color: var(--good); }
.verdict.worse { border-left-color: var(--bad); }
.verdict p { margin: 0; font-size: 16px; max-width: 66ch; }
.verdict .label { font-size: 12px; text-transform: uppercase; letter-spacing: 0.07em;
  color: var(--soft); font-weight: 600; margin-bottom: 2px; }
.verdict.better .label { color: var(--good); }
.verdict.worse .label { color: var(--bad); }
.numbers { display: flex; gap: 26px; }
.numbers div { text-align: right; }
.numbers b { display: block; font-size: 27px; line-height: 1.15; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }
.numbers span { color: var(--soft); font-size: 12.5px; white-space: nowrap; }
.numbers .model b { color: var(--model); }
.numbers .best b { color: var(--best); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr));
  gap: 18px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th { text-align: right; color: var(--soft); font-weight: 500; font-size: 12.5px;
  padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: bottom;
  white-space: nowrap; }
td { text-align: right; padding: 8px 10px; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { white-space: normal; min-width: 150px; }
th:last-child, td:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
td small { color: var(--soft); font-size: 12.5px; }
td:first-child small { display: block; line-height: 1.35; max-width: 46ch; }
.stack td small { display: block; }
.stack :is(td, th):not(:first-child) { padding-left: 6px; }
.stack :is(td, th):not(:last-child) { padding-right: 6px; }
tr.model td:first-child b { color: var(--model); }
tr.best td:first-child b { color: var(--best); }
.facts td:last-child { white-space: normal; overflow-wrap: anywhere; text-align: left;
  font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px; }
.facts td:first-child { color: var(--soft); width: 190px; }
svg { display: block; width: 100%; height: auto; }
.scroll svg { min-width: 640px; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif;
  fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { font-size: 12.5px; }
svg .mid { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .name { font-size: 13px; fill: var(--ink); }
svg .name.model { fill: var(--model); font-weight: 600; }
svg .name.best { fill: var(--best); font-weight: 600; }
svg .shown { fill: var(--ink); }
svg .box { fill: var(--paper); stroke: var(--other); stroke-width: 1.5; }
svg .box.asked { stroke: var(--model); stroke-width: 2.5; }
svg .link { stroke: var(--other); stroke-width: 1.5; fill: none; }
svg .head { fill: var(--other); }
svg .bar { fill: var(--model); fill-opacity: 0.75; }
svg .zero { stroke: var(--ink); stroke-width: 1; }
svg .node { fill: var(--ink); }
.curve.best { stroke: var(--best); }
.grid { stroke: var(--line); stroke-width: 1; }
.ideal { stroke: var(--other); stroke-width: 1.5; stroke-dasharray: 5 5; }
.whisker { stroke-width: 3; stroke-linecap: round; stroke: var(--other); stroke-opacity: 0.6; }
.mark { fill: var(--other); stroke: var(--paper); stroke-width: 1.5; }
.whisker.sure { stroke: var(--ink); stroke-opacity: 0.75; stroke-width: 2; }
.whisker.model { stroke: var(--model); }
.whisker.best { stroke: var(--best); }
.mark.model { fill: var(--model); }
.mark.best { fill: var(--best); }
.mark.faint { fill: #b7c6ee; }
.curve { fill: none; stroke: var(--model); stroke-width: 2; stroke-linejoin: round; }
.curve.loss { stroke: var(--soft); }
.curve.faint { stroke: #b7c6ee; }
.point { fill: var(--model); fill-opacity: 0.32; }
.band { fill: var(--model); fill-opacity: 0.09; stroke: none; }
.heat { fill: var(--model); }
.summary ol { margin: 0; padding-left: 22px; max-width: 78ch; }
.summary li { margin: 3px 0; }
.rows { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(290px, 100%), 1fr)); }
.rows article { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.rows h3 { margin: 0 0 2px; font-size: 15px; }
.rows p { margin: 0 0 6px; color: var(--soft); font-size: 13.5px; }
.rows ul { margin: 0; padding-left: 18px; font-size: 14px; }
.rows li { margin: 4px 0; overflow-wrap: anywhere; }
pre { background: var(--ground); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; margin: 0; }
.legend { font-size: 13px; color: var(--soft); margin: 6px 0 0; }
.legend b.model { color: var(--model); } .legend b.best { color: var(--best); }
.triple { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.triple svg text { font-size: 15px; }
svg .small { fill: var(--ink); }
:focus-visible { outline: 3px solid var(--model); outline-offset: 2px; }
footer { color: var(--soft); font-size: 13px; margin-top: 22px; }
@media (max-width: 640px) { .verdict { grid-template-columns: 1fr; }
  .numbers div { text-align: left; } h1 { font-size: 25px; } section { padding: 16px; } }
@media print { body { background: #fff; }
  section { break-inside: avoid; border: 0; padding: 8px 0; }
  main { max-width: none; padding: 0; } .scroll { overflow: visible; }
  .scroll svg { min-width: 0; } }
""".strip()
