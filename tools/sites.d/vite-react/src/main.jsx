import "../common/site.css";
import { createRoot } from "react-dom/client";
import { createBrowserRouter, Link, Outlet, RouterProvider } from "react-router-dom";

function Frame() {
  return (
    <>
      <nav>
        <Link to="/">Home</Link>
        <Link to="/plants">Plants</Link>
        <Link to="/about">About</Link>
      </nav>
      <main>
        <Outlet />
      </main>
    </>
  );
}

// Each page is a chunk of its own.
const page = (load) => async () => ({ Component: (await load()).default });
const router = createBrowserRouter([
  {
    element: <Frame />,
    children: [
      { path: "/", lazy: page(() => import("./pages/home.jsx")) },
      { path: "/plants", lazy: page(() => import("./pages/plants.jsx")) },
      { path: "/plants/:name", lazy: page(() => import("./pages/plant.jsx")) },
      { path: "/about", lazy: page(() => import("./pages/about.jsx")) },
    ],
  },
]);

createRoot(document.getElementById("root")).render(<RouterProvider router={router} />);
