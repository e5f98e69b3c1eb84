import { Component, Input } from "@angular/core";
import { plants } from "./plants";

@Component({ template: `<h1>Plant: {{ name }}</h1><p>{{ words }}</p>` })
export default class Plant {
  @Input() name = "";

  get words() {
    return plants.find((plant) => plant.name === this.name)?.words;
  }
}
