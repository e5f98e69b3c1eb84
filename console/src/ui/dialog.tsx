// Dialogs: one above the other, each with the command line that does the same, closed by Escape unless it says otherwise.
import { computed, signal } from "@preact/signals";
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Problem, Step } from "../api.ts";
import { problemFrom } from "../client.ts";
import { withStep } from "../deploy_following.ts";
import { announce, changed } from "../state.ts";
import { t } from "../texts.ts";
import { Button, ProblemBox, SameByCommand } from "./basics.tsx";
import { Steps } from "./steps.tsx";

interface Open {
  number: number;
  content: VNode;
}

const stack = signal<Open[]>([]);
let numbers = 0;

/** Whether one is open, so that what is typed is for it. */
export const isDialogOpen = computed(() => stack.value.length > 0);

export function openDialog(content: VNode): number {
  numbers += 1;
  stack.value = [...stack.value, { number: numbers, content }];
  return numbers;
}

/** Closes the uppermost one, so that the focus goes back to where it was. */
export function closeDialog(): void {
  const shown = document.querySelectorAll<HTMLDialogElement>("dialog[open]");
  shown[shown.length - 1]?.close();
  stack.value = stack.value.slice(0, -1);
}

export function Dialogs() {
  return (
    <>
      {stack.value.map(({ number, content }) => (
        <div key={number}>{content}</div>
      ))}
    </>
  );
}

interface FrameProps {
  title: string;
  /** What Escape and the button to close do, instead of closing it. */
  leave?: (() => void) | undefined;
  wide?: boolean;
  children: ComponentChildren;
}

export function Frame({ title, leave, wide, children }: FrameProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const latest = useRef(leave ?? closeDialog);
  latest.current = leave ?? closeDialog;
  useEffect(() => {
    const dialog = element.current;
    if (!dialog) return;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
    const pressed = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      // What the browser does by itself would close it the second time, whatever it holds.
      event.preventDefault();
      event.stopPropagation();
      latest.current();
    };
    const cancelled = (event: Event) => {
      event.preventDefault();
      latest.current();
    };
    dialog.addEventListener("keydown", pressed);
    dialog.addEventListener("cancel", cancelled);
    return () => {
      dialog.removeEventListener("keydown", pressed);
      dialog.removeEventListener("cancel", cancelled);
    };
  }, []);
  return (
    <dialog ref={element} aria-labelledby={heading} class={wide ? "wide" : ""}>
      <header>
        <h2 id={heading}>{title}</h2>
        <Button look="quiet" onClick={() => latest.current()} aria-label={t.close}>
          <svg viewBox="0 0 16 16" class="icon" aria-hidden="true">
            <path d="m4 4 8 8m0-8-8 8" />
          </svg>
        </Button>
      </header>
      {children}
    </dialog>
  );
}

interface ActionProps {
  title: string;
  /** The command line that does the same. */
  command: string;
  /** What it needs. */
  commandHint?: string;
  /** The label of the button that does it. */
  label: string;
  danger?: boolean;
  disabled?: boolean;
  wide?: boolean;
  /** Does it; what it returns is read out. */
  run: (step: (step: Step) => void) => Promise<string | void>;
  /** After it was done; the dialog is closed unless this is given. */
  done?: () => void;
  children?: ComponentChildren;
}

/** A dialog that does something: its fields, the command line, and then the steps or the problem. */
export function ActionDialog(props: ActionProps) {
  const [steps, setSteps] = useState<Step[]>([]);
  const [running, setRunning] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (running || props.disabled) return;
    setRunning(true);
    setProblem(null);
    setSteps([]);
    try {
      const said = await props.run((step) => setSteps((before) => withStep(before, step)));
      changed();
      if (said) announce(said);
      if (props.done) props.done();
      else closeDialog();
    } catch (error) {
      setProblem(problemFrom(error));
      changed();
    }
    setRunning(false);
  };
  return (
    <Frame title={props.title} wide={props.wide ?? false} leave={running ? () => {} : undefined}>
      <form class="action" onSubmit={(event) => void submit(event)} noValidate={false}>
        <div class="body">
          {props.children}
          {steps.length > 0 && <Steps steps={steps} />}
          {problem && <ProblemBox problem={problem} />}
        </div>
        <SameByCommand text={props.command} />
        {props.commandHint && <p class="hint command-hint">{props.commandHint}</p>}
        <footer>
          <Button onClick={closeDialog} disabled={running}>
            {t.cancel}
          </Button>
          <Button look={props.danger ? "danger" : "main"} type="submit" disabled={running || props.disabled}>
            {running ? t.underWay : props.label}
          </Button>
        </footer>
      </form>
    </Frame>
  );
}

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  children: (id: string, describedBy: string | undefined) => ComponentChildren;
}

export function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id, hint ? `${id}-hint` : undefined)}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

interface TextFieldProps {
  label: string;
  value: string;
  set: (value: string) => void;
  hint?: ComponentChildren;
  first?: boolean;
  required?: boolean;
  lines?: number;
  max?: number;
  type?: "text" | "password";
  pattern?: string;
  placeholder?: string;
  complete?: string;
}

export function TextField(props: TextFieldProps) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id, describedBy) =>
        props.lines ? (
          <textarea
            id={id}
            rows={props.lines}
            value={props.value}
            aria-describedby={describedBy}
            maxLength={props.max}
            required={props.required}
            spellcheck={false}
            data-first={props.first}
            onInput={(event) => props.set(event.currentTarget.value)}
          />
        ) : (
          <input
            id={id}
            type={(props.type ?? "text") as "text"}
            value={props.value}
            aria-describedby={describedBy}
            maxLength={props.max}
            required={props.required}
            pattern={props.pattern}
            placeholder={props.placeholder}
            autocomplete={props.complete ?? "off"}
            autocapitalize="off"
            spellcheck={false}
            data-first={props.first}
            onInput={(event) => props.set(event.currentTarget.value)}
          />
        )
      }
    </Field>
  );
}

/** The longest reason that the edge keeps. */
const REASON_CHARACTERS_MAX = 500;

/** Why something is done: what the history, or whoever finds a lock, shows. */
export function ReasonField({ value, set, hint = t.reasonHint }: { value: string; set: (value: string) => void; hint?: string }) {
  return <TextField label={t.reason} hint={hint} value={value} set={set} max={REASON_CHARACTERS_MAX} first />;
}

interface ChoiceProps {
  label: string;
  value: string;
  set: (value: string) => void;
  options: { value: string; text: string }[];
  hint?: ComponentChildren;
  first?: boolean;
}

export function Choice(props: ChoiceProps) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id, describedBy) => (
        <select
          id={id}
          value={props.value}
          aria-describedby={describedBy}
          data-first={props.first}
          onChange={(event) => props.set(event.currentTarget.value)}
        >
          {props.options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function Check({ label, value, set }: { label: string; value: boolean; set: (value: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => set(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
