import { Component } from "@angular/core";
import { RouterLink } from "@angular/router";
import { plants } from "./plants";

@Component({
  imports: [RouterLink],
  template: `
    <h1>All plants</h1>
    <ul>
      @for (plant of plants; track plant.name) {
        <li><a [routerLink]="['/plants', plant.name]">{{ plant.name }}</a></li>
      }
    </ul>
  `,
})
export default class List {
  plants = plants;
}
