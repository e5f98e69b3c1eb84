// The small parts of every page: texts from outside, ids, moments, marks of a state, buttons, problems.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { Problem } from "../api.ts";
import { ago, exact, shortId } from "../format.ts";
import type { Tone } from "../health.ts";
import { parts, safeLink, visible } from "../outside_text.ts";
import { announce, now } from "../state.ts";
import { t } from "../texts.ts";

/** A text that somebody outside wrote: what is hidden in it is shown, and it reorders nothing beside it. */
export function Outside({ text, lines = false }: { text: string; lines?: boolean }) {
  return (
    <bdi class={lines ? "outside lines" : "outside"}>
      {parts(text, lines).map((part) => (part.hidden ? <span class="hidden-character">{part.text}</span> : part.text))}
    </bdi>
  );
}

export type { Tone };

const SHAPES: Record<Tone, string> = {
  good: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  bad: "M3 3h10v10H3z",
  warn: "M8 1.5 15 14H1z",
  busy: "M8 2a6 6 0 0 0 0 12z M8 2a6 6 0 0 1 0 12 M8 3.2v9.6a4.8 4.8 0 0 0 0-9.6z",
  idle: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.6a4.4 4.4 0 1 1 0 8.8 4.4 4.4 0 0 1 0-8.8z",
};

/** A state: a shape and a word, and a colour for those who see it. */
export function Mark({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`mark ${tone}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={SHAPES[tone]} fill-rule="evenodd" />
      </svg>
      <span>{children}</span>
    </span>
  );
}

/** An id as a person types it; the whole of it is in the title, and is what is copied. */
export function Id({ id }: { id: string | null | undefined }) {
  if (!id) return <span class="faint">—</span>;
  return (
    <code class="id" title={visible(id)}>
      <Outside text={shortId(id)} />
    </code>
  );
}

export function When({ at }: { at: number | null | undefined }) {
  const moment = at;
  if (moment === null || moment === undefined) return <span class="faint">—</span>;
  return (
    <time dateTime={new Date(moment).toISOString()} title={exact(moment)}>
      {ago(moment, now.value)}
    </time>
  );
}

/** Who did something, behind what or when. */
export function By({ who }: { who: string | null | undefined }) {
  if (!who) return null;
  return (
    <>
      {" "}
      {t.by} <Outside text={who} />
    </>
  );
}

/** What is of less weight, behind something. */
export function Beside({ text }: { text: string | null | undefined }) {
  if (!text) return null;
  return (
    <span class="faint">
      {" "}
      <Outside text={text} />
    </span>
  );
}

/** An app and an environment; every app where none is named. */
export function Where({ app, environment, link }: { app: string | null | undefined; environment: string | null | undefined; link?: string }) {
  const name = app ? <Outside text={app} /> : t.token.everyApp;
  return (
    <>
      {link ? <a href={link}>{name}</a> : name}
      {environment && (
        <>
          {" / "}
          <Outside text={environment} />
        </>
      )}
    </>
  );
}

/** A link that leaves the console; only addresses of the web are links. */
export function Away({ href, children }: { href: string | null | undefined; children?: ComponentChildren }) {
  const safe = safeLink(href);
  const label = children ?? <Outside text={shown(href ?? "")} />;
  if (!safe) return <span>{label}</span>;
  return (
    <a href={safe} target="_blank" rel="noreferrer noopener" class="away">
      {label}
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d="M6 3h7v7M13 3 5 11" />
      </svg>
      <span class="sr">{t.opensElsewhere}</span>
    </a>
  );
}

function shown(href: string): string {
  return href.replace(/^https:\/\//, "").replace(/\/$/, "");
}

type ButtonProps = JSX.IntrinsicElements["button"] & { look?: "plain" | "main" | "danger" | "quiet" };

export function Button({ look = "plain", ...rest }: ButtonProps) {
  return <button type="button" {...rest} class={`button ${look}`} />;
}

interface OpensProps {
  label: string;
  /** What it is done to, where a page has several such buttons: it is in the name that is read out. */
  of?: string;
  /** The whole name that is read out, where the label does not say enough. */
  named?: string;
  look?: ButtonProps["look"];
  /** Why it is refused now: the page says so beside it, and it opens nothing. */
  refused?: string | null;
  open: () => void;
}

/** A button that opens a dialog: its dots say that nothing has happened yet. */
export function Opens({ label, of, named, look = "plain", refused, open }: OpensProps) {
  return (
    <Button look={look} onClick={open} disabled={Boolean(refused)} title={refused ?? undefined} aria-label={of === undefined ? named : t.of(label, visible(of))}>
      {visible(label)}…
    </Button>
  );
}

/** Copies a text; says so. */
export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      announce(t.copied);
      setTimeout(() => setDone(false), 2000);
    } catch {
      announce(t.notCopied);
    }
  };
  return (
    <Button look="quiet" onClick={() => void copy()} aria-label={done ? t.copied : label}>
      {done ? t.copied : t.copy}
    </Button>
  );
}

/** A command line, as text to select and with a button to copy it. */
export function CommandLine({ text, label = t.commandLine }: { text: string; label?: string }) {
  return (
    <div class="command">
      <code>
        <span class="prompt" aria-hidden="true">
          $
        </span>
        <Outside text={text} />
      </code>
      <Copy text={text} label={`${t.copy}: ${label}`} />
    </div>
  );
}

/** The command line that does, or shows, the same as what is above it. */
export function SameByCommand({ text }: { text: string }) {
  return (
    <>
      <p class="caption">{t.sameByCommand}</p>
      <CommandLine text={text} />
    </>
  );
}

export function ProblemBox({ problem, again }: { problem: Problem; again?: (() => void) | undefined }) {
  return (
    <div class="problem" role="alert">
      <Mark tone="bad">
        <strong>
          <Outside text={problem.detail || problem.title} />
        </strong>
      </Mark>
      {problem.hint && (
        <p>
          <Outside text={problem.hint} lines />
        </p>
      )}
      {problem.mistakes && problem.mistakes.length > 0 && (
        <ul>
          {problem.mistakes.map((mistake) => (
            <li>
              <code>
                <Outside text={mistake.line > 0 ? `${mistake.file}:${mistake.line}` : mistake.file} />
              </code>{" "}
              <Outside text={mistake.message} />
              {mistake.hint && (
                <>
                  {" "}
                  <Outside text={mistake.hint} />
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {problem.lines && problem.lines.length > 0 && <Lines lines={problem.lines} />}
      <p class="faint">
        <code>{visible(problem.code)}</code>
        {again && (
          <>
            {" "}
            <Button look="quiet" onClick={again}>
              {t.tryAgain}
            </Button>
          </>
        )}
      </p>
    </div>
  );
}

/** Lines of a log. */
export function Lines({ lines }: { lines: string[] }) {
  return (
    <pre class="lines" tabIndex={0} aria-label={t.log}>
      {lines.map((line) => (
        <>
          <Outside text={line} />
          {"\n"}
        </>
      ))}
    </pre>
  );
}

/** What a page shows until it has something, and when it cannot have it. */
export function Pending({ of, what }: { of: { problem: Problem | null; reload: () => void; data: unknown }; what?: string }) {
  if (of.problem && of.data === null) return <ProblemBox problem={of.problem} again={of.reload} />;
  if (of.data === null) {
    return (
      <p class="pending" aria-busy="true">
        {what ?? t.loading}
      </p>
    );
  }
  return null;
}

/** That what is shown could not be loaded again. */
export function Stale({ of }: { of: { problem: Problem | null; data: unknown } }) {
  if (!of.problem || of.data === null) return null;
  return (
    <p class="stale" role="status">
      <Mark tone="warn">
        {t.stale} <Outside text={of.problem.detail} />
      </Mark>
    </p>
  );
}

/** Which nodes did not answer, so that something is missing. */
export function Unanswered({ nodes, text }: { nodes: string[] | undefined; text: string }) {
  if (!nodes || nodes.length === 0) return null;
  return (
    <p>
      <Mark tone="warn">
        {text} <Outside text={nodes.join(", ")} />
      </Mark>
    </p>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
    </div>
  );
}

/** A heading of a page, which gets the focus when the page is gone to. */
export function Heading({ children, aside }: { children: ComponentChildren; aside?: ComponentChildren }) {
  return (
    <div class="heading">
      <h1 tabIndex={-1}>{children}</h1>
      {aside && <div class="aside">{aside}</div>}
    </div>
  );
}

/** A name and a value, side by side. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A short word beside a name, such as that it is the current one. */
export function Tag({ children }: { children: ComponentChildren }) {
  return <span class="tag">{children}</span>;
}
