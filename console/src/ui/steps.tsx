// The steps of a deploy, as they happen and afterwards.
import type { Step } from "../api.ts";
import { linesOf } from "../deploy_following.ts";
import { duration } from "../format.ts";
import { toneOf } from "../health.ts";
import { t } from "../texts.ts";
import { Mark, Outside } from "./basics.tsx";

function Detail({ step }: { step: Step }) {
  const lines = linesOf(step);
  return (
    <div class="step-detail">
      {lines.length === 0 && <span class="faint">{t.steps[step.state] ?? step.state}</span>}
      {lines.map((line, index) => (
        <p key={index}>
          <Outside text={line} />
        </p>
      ))}
    </div>
  );
}

export function Steps({ steps }: { steps: Step[] }) {
  return (
    <ol class="steps" aria-label={t.steps.title}>
      {steps.map((step) => (
        <li key={step.name}>
          <Mark tone={toneOf("step", step.state)}>
            <span class="step-name">
              <Outside text={step.name} />
            </span>
            <span class="sr">{t.steps[step.state] ?? step.state}</span>
          </Mark>
          <Detail step={step} />
          <span class="figure faint">{step.ms !== undefined && step.state !== "started" ? duration(step.ms) : ""}</span>
        </li>
      ))}
    </ol>
  );
}
