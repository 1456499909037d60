// Alerts as they change. The browser comes back by itself and says what it saw last; what was missed is told then.

export class Live extends EventTarget {
  constructor(address = "api/v1/events") {
    super();
    this.address = address;
    this.source = null;
    this.state = "off";
  }

  start() {
    if (this.source) return;
    const source = new EventSource(this.address);
    this.source = source;
    this.tell("connecting");
    source.addEventListener("open", () => this.tell("live"));
    source.addEventListener("alert", (event) => {
      this.dispatchEvent(new CustomEvent("alert", { detail: JSON.parse(event.data) }));
    });
    source.addEventListener("reset", () => this.dispatchEvent(new Event("reset")));
    source.addEventListener("error", () => {
      this.tell("connecting");
      if (source.readyState === EventSource.CLOSED) {
        this.stop();
        this.again = setTimeout(() => this.start(), 5000);
      }
    });
  }

  stop() {
    clearTimeout(this.again);
    this.source?.close();
    this.source = null;
    this.tell("off");
  }

  tell(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

export const live = new Live();
