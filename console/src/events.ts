// Server-sent events out of the body of any answer: `EventSource` asks by GET alone.

export interface ServerEvent {
  event: string;
  data: string;
  id: string;
}

/** The longest event that is kept; a stream that sends more is no stream of ours. */
const EVENT_CHARACTERS_MAX = 4 * 1024 * 1024;

/** Takes the text of a stream piece by piece, and gives the events that are whole. */
export class EventReader {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private size = 0;
  private id = "";

  take(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    this.rest += text;
    // A carriage return at the end may be the first half of a line's end.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    if (this.rest.length > EVENT_CHARACTERS_MAX) throw new Error("an event is too long");
    for (const line of lines) {
      const event = this.line(line);
      if (event) found.push(event);
    }
    return found;
  }

  private line(line: string): ServerEvent | null {
    if (line === "") return this.whole();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.event = value;
    else if (field === "id") this.id = value;
    else if (field === "data") {
      this.size += value.length;
      if (this.size > EVENT_CHARACTERS_MAX) throw new Error("an event is too long");
      this.data.push(value);
    }
    return null;
  }

  private whole(): ServerEvent | null {
    const event = { event: this.event || "message", data: this.data.join("\n"), id: this.id };
    const has = this.data.length > 0;
    this.event = "";
    this.data = [];
    this.size = 0;
    return has ? event : null;
  }
}
