// The steps of a deploy, as they happen and afterwards.
import type { Step } from "../api.ts";
import { duration } from "../format.ts";
import { t } from "../texts.ts";
import { Mark, Outside, type Tone } from "./basics.tsx";

const TONES: Record<string, Tone> = { started: "busy", done: "good", skipped: "idle", failed: "bad" };

export function Steps({ steps }: { steps: Step[] }) {
  return (
    <ol class="steps" aria-label={t.steps.title}>
      {steps.map((step) => (
        <li key={step.name}>
          <Mark tone={TONES[step.state] ?? "idle"}>
            <span class="step-name">
              <Outside text={step.name} />
            </span>
            <span class="sr">{t.steps[step.state] ?? step.state}</span>
          </Mark>
          <span class="step-detail">
            {step.detail ? <Outside text={step.detail} /> : <span class="faint">{t.steps[step.state] ?? step.state}</span>}
          </span>
          <span class="figure faint">{step.ms !== undefined && step.state !== "started" ? duration(step.ms) : ""}</span>
        </li>
      ))}
    </ol>
  );
}
